"""Worked numbers of the dispo sheet, checks 1 to 6, and DISPO's own properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import Rollouts, aggregate, cispo_loss, recipe
from entrokit.rlvr.bases.dispo import dispo_loss

from .fixture_a import MASK, advantages, logp, loss_and_gradient, old, rollouts, stats, tensor

OPEN = (1.0, 1e9)


def value_and_gradient(pos, neg):
    x = logp()
    loss = aggregate(dispo_loss(x, old(), advantages(), pos_clip=pos, neg_clip=neg), MASK, "token-mean")
    return loss.item(), torch.autograd.grad(loss, x)[0]


@pytest.mark.parametrize(
    ("pos", "neg", "value", "gradient"),
    [
        (
            (0.2, 10.0),
            (1.0, 100.0),
            0.031852,
            [[-0.126305, -0.091429, -0.114286, -0.170494], [0.171429, 0.094082, 0.231404, 0]],
        ),
        ((0.0, 0.0), (0.0, 0.0), -0.174286, [[-0.114286] * 4, [0.171429] * 3 + [0]]),
        (
            (0.2, 0.2),
            (0.2, 0.2),
            -0.119369,
            [[-0.126305, -0.091429, -0.114286, -0.137143], [0.171429, 0.137143, 0.205714, 0]],
        ),
        (OPEN, OPEN, 0.016295, [[-0.126305, -0.084665, -0.114286, -0.170494], [0.171429, 0.094082, 0.231404, 0]]),
    ],
    ids=["1: defaults", "2: no ratio", "2: CISPO's bounds", "3: open"],
)
def test_checks_1_to_3(pos, neg, value, gradient):
    loss, g = value_and_gradient(pos, neg)
    assert loss == pytest.approx(value, abs=1e-6)
    torch.testing.assert_close(g, tensor(gradient), atol=1e-6, rtol=0)


def test_check_2_equal_pairs_are_cispo():
    ours = dispo_loss(logp(), old(), advantages(), pos_clip=(0.2, 0.2), neg_clip=(0.2, 0.2))
    torch.testing.assert_close(ours, cispo_loss(logp(), old(), advantages(), clip_low=0.2, clip_high=0.2))


def test_check_4():
    assert value_and_gradient((0.1, 0.3), (0.3, 0.2))[0] == pytest.approx(-0.027941, abs=1e-6)


def test_the_base_is_that_loss():
    loss, g = loss_and_gradient(recipe("dispo"))
    assert loss == pytest.approx(0.031852, abs=1e-6)
    torch.testing.assert_close(g, value_and_gradient((0.2, 10.0), (1.0, 100.0))[1])


bound = st.floats(0.0, 1.5)


@given(bound, bound, bound, bound, st.integers(0, 999))
def test_check_5_on_policy_it_is_the_policy_gradient(a, b, c, d, seed):
    g = torch.Generator().manual_seed(seed)
    x = (-torch.rand(2, 3, generator=g, dtype=torch.float64)).requires_grad_()
    adv = torch.randn(2, 3, generator=g, dtype=torch.float64)
    (grad,) = torch.autograd.grad(dispo_loss(x, x.detach(), adv, pos_clip=(a, b), neg_clip=(c, d)).sum(), x)
    torch.testing.assert_close(grad, -adv)


@given(bound, bound, bound)
def test_check_6_each_bound_reaches_its_regime_alone(first, second, third):
    reference = value_and_gradient((0.2, 0.2), (0.2, 0.2))[1]
    negative = value_and_gradient((0.2, 0.2), (first, second))[1]
    torch.testing.assert_close(negative[0], reference[0])
    high = value_and_gradient((0.2, third), (0.2, third))[1]
    below = MASK & (logp() < old())
    assert below.any()
    torch.testing.assert_close(high[below], reference[below])


def test_the_completion_s_own_verdict_may_decide():
    """A right completion whose advantage is negative takes the bounds of the right ones."""
    batch = rollouts()
    swapped = Rollouts.from_columns(batch.columns() | {"correct": torch.tensor([False, True])})
    r = recipe("dispo(pos_low=0.1, pos_high=0.3, neg_low=0.3, neg_high=0.2, correct='reward')")
    x = logp()
    (g,) = torch.autograd.grad(r.loss(stats(x), swapped, advantages()).loss, x)
    weight = -g * 7 / advantages()
    expected = [[1.105171, 0.740818, 1, 1.2], [1, 0.9, 1.3, 0]]
    torch.testing.assert_close(weight, tensor(expected), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"dispo.correct='reward'. needs to know which completions are right"):
        r.loss(stats(logp()), batch, advantages())


@pytest.mark.parametrize(("knobs", "wrong_below"), [("", 0), ("neg_low=0.1", 1)])
def test_what_a_run_logs_is_the_share_of_all_its_tokens_that_each_regime_clips(knobs, wrong_below):
    metrics = recipe(f"dispo({knobs})").loss(stats(logp()), rollouts(), advantages()).metrics
    shares = {k.removeprefix("DISPO/"): round(7 * float(v), 6) for k, v in metrics.items() if k.startswith("DISPO")}
    assert shares == {
        "right_above_clipped": 0,
        "right_below_clipped": 1,
        "wrong_above_clipped": 0,
        "wrong_below_clipped": wrong_below,
    }
    batch = rollouts()
    empty = Rollouts.from_columns(batch.columns() | {"trained": torch.zeros_like(MASK)})
    metrics = recipe(f"dispo({knobs})").loss(stats(logp()), empty, advantages()).metrics
    assert all(float(v) == 0 for k, v in metrics.items() if k.startswith("DISPO"))


def test_huge_log_ratios_stay_finite():
    x = torch.tensor([[0.0, -200.0]], requires_grad=True)
    loss = dispo_loss(x, torch.tensor([[-200.0, 0.0]]), torch.tensor([[-1.0, 1.0]]))
    (g,) = torch.autograd.grad(loss.sum(), x)
    assert g.tolist() == [[101.0, pytest.approx(-0.8)]]


def test_knobs_out_of_range():
    with pytest.raises(ValueError, match="DISPO: neg_high must be a number in"):
        recipe("dispo(neg_high=-1)")
