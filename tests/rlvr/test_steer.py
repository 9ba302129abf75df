"""Worked numbers of the steer sheet, checks 1 to 6, and the weights' properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions import entropy, token_statistics
from entrokit.rlvr import PolicyStats, recipe
from entrokit.rlvr.interventions.covariance import token_covariance
from entrokit.rlvr.interventions.steer import entropy_change, steer_weights

from .fixture_a import MASK, advantages, logp, loss_and_gradient, old, stats, tensor

BASE = "dapo(clip_low=0.2, clip_high=0.28, dual_clip=10.0)"


def omega(form="theorem", clipped=None):
    return entropy_change(stats(logp()), old(), advantages(), MASK, form=form, clipped=clipped)


def close(got, expected, atol=1e-6):
    torch.testing.assert_close(got, tensor(expected), atol=atol, rtol=0)


def test_check_1_released_weights():
    size = omega("released")
    close(
        steer_weights(size, MASK, min_weight=0.8),
        [[0.992528, 0.887951, 0.945424, 0.963509], [0.998697, 0.8, 0.964306, 0]],
    )
    close(
        steer_weights(size, MASK, min_weight=0.7),
        [[0.988083, 0.826998, 0.914201, 0.942312], [0.997917, 0.7, 0.943559, 0]],
    )
    close(
        steer_weights(size, MASK, min_weight=0.8, max_weight=1.2, mapping="linear"),
        [[1.188828, 0.988073, 1.101159, 1.135324], [1.2, 0.8, 1.136815, 0]],
    )


def test_check_2_theorem():
    close(omega(), [[-0.015226, 0.026731, -0.076368, 0.025119], [0.002784, -0.024925, -0.040494, 0]])
    close(
        steer_weights(omega(), MASK, min_weight=0.7),
        [[0.931357, 0.882634, 0.7, 0.889301], [0.987084, 0.890110, 0.827683, 0]],
    )


def test_check_2_clipped_tokens_have_weight_one():
    r = recipe(BASE + "+steer(min_weight=0.7, scope='micro')")
    _, g = loss_and_gradient(r)
    ratio = (logp() - old()).exp()
    clipped = MASK & (((advantages() > 0) & (ratio > 1.28)) | ((advantages() < 0) & (ratio < 0.8)))
    assert clipped.nonzero().tolist() == [[0, 3], [1, 1]]
    change = omega(clipped=clipped)
    assert change[clipped].abs().max() == 0
    assert steer_weights(change, MASK)[clipped].tolist() == [1.0, 1.0]
    assert torch.isfinite(g).all()


@pytest.mark.parametrize(
    ("knobs", "value"),
    [
        ("min_weight=0.7", 0.080361),
        ("min_weight=0.7, form='released'", 0.048270),
        ("min_weight=0.8, form='released'", 0.054528),
    ],
)
def test_check_3_losses(knobs, value):
    loss, _ = loss_and_gradient(recipe(f"{BASE}+steer({knobs}, iclip=False, scope='micro')"))
    assert loss == pytest.approx(value, abs=1e-6)


def test_check_3_gradient_is_the_weight_times_that_of_ppo():
    _, g = loss_and_gradient(recipe(f"{BASE}+steer(min_weight=0.7, iclip=False, scope='micro')"))
    close(g, [[-0.117635, -0.074728, -0.080000, 0], [0.169214, 0, 0.191530, 0]])
    _, plain = loss_and_gradient(recipe(BASE))
    torch.testing.assert_close(g, plain * steer_weights(omega(), MASK, min_weight=0.7))


P = torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64)


def one_token(k, ratio, advantage, form="theorem"):
    s = token_statistics(P.log()[None], torch.tensor([k]))
    one = torch.ones(1, dtype=torch.bool)
    return entropy_change(
        PolicyStats(s.logp, s.entropy, s.collision, s.weighted_surprise),
        s.logp - math.log(ratio),
        torch.tensor([advantage], dtype=torch.float64),
        one,
        form=form,
    ).item()


@pytest.mark.parametrize(
    ("advantage", "ratio", "k", "theorem", "measured"),
    [(1, 1.1, 0, -0.137884, -0.137901), (1, 1.1, 3, 0.102547, 0.102569), (-1, 0.9, 0, 0.112814, 0.112803)],
)
def test_check_4_finite_differences_of_the_sampled_logit(advantage, ratio, k, theorem, measured):
    predicted = one_token(k, ratio, float(advantage))
    assert predicted == pytest.approx(theorem, abs=1e-6)
    eta, logits = 1e-3, P.log()
    moved = logits.clone()
    moved[k] += eta * (1 - P[k]) * advantage * ratio
    change = (entropy(moved, from_logits=True) - entropy(P)).item() / eta
    assert change == pytest.approx(measured, abs=1e-6)
    assert predicted == pytest.approx(change, rel=1e-3)


def test_check_4_exact_form_is_the_full_gradient():
    exact = one_token(0, 1.1, 1.0, "exact")
    assert exact == pytest.approx(-0.181527, abs=1e-6)
    eta = 1e-3
    moved = P.log() + eta * 1.1 * (torch.eye(4, dtype=torch.float64)[0] - P)
    change = (entropy(moved, from_logits=True) - entropy(P)).item() / eta
    assert change == pytest.approx(-0.181572, abs=1e-6)


def test_check_5_weight_one_is_plain_ppo_exactly():
    assert loss_and_gradient(recipe(BASE + "+steer(min_weight=1.0)"))[0] == loss_and_gradient(recipe(BASE))[0]


@given(st.floats(0.3, 100))
def test_check_5_scale_invariance_above_the_floor(scale):
    weights = steer_weights(omega() * scale, MASK)
    torch.testing.assert_close(weights, steer_weights(omega(), MASK))


def test_check_5_floor_turns_the_method_off_for_tiny_changes():
    assert steer_weights(omega() * 0.01, MASK)[MASK].min() > 0.986


def test_check_6_estimators_against_true_changes():
    """Sheet check 6 with its own pass criteria; the theorem is exact for the sampled logit, `exact` for all."""
    g = torch.Generator().manual_seed(0)
    n, v, eta = 4000, 50, 0.05
    scale = 0.3 + 5.7 * torch.rand(n, 1, generator=g, dtype=torch.float64)
    z = torch.randn(n, v, generator=g, dtype=torch.float64) * scale
    p = torch.softmax(z, -1)
    a = torch.multinomial(p, 1, generator=g)
    A = (0.5 + torch.rand(n, 1, generator=g, dtype=torch.float64)) * (torch.randint(2, (n, 1), generator=g) * 2 - 1)
    r = (0.1 * torch.randn(n, 1, generator=g, dtype=torch.float64)).exp()
    s = token_statistics(z, a[:, 0])
    own = PolicyStats(*(x[:, None] for x in (s.logp, s.entropy, s.collision, s.weighted_surprise)))
    mask = torch.ones(n, 1, dtype=torch.bool)
    onehot = torch.zeros_like(z).scatter_(1, a, 1.0)
    sampled = z + eta * A * r * (1 - p.gather(1, a)) * onehot
    full = z + eta * A * r * (onehot - p)

    def r_with(prediction, moved):
        change = entropy(moved, from_logits=True) - s.entropy
        return torch.corrcoef(torch.stack([prediction[:, 0], change]))[0, 1].item()

    theorem, exact = (entropy_change(own, own.logp - r.log(), A, mask, form=f) for f in ("theorem", "exact"))
    covariance = -token_covariance(own.logp, A, mask)
    assert r_with(theorem, sampled) > 0.99
    assert r_with(exact, full) > 0.99
    assert r_with(theorem, sampled) > r_with(covariance, sampled) + 0.15
    assert r_with(theorem, full) > r_with(covariance, full) + 0.15


@given(st.floats(0.05, 1.0), st.integers(0, 500))
def test_weights_stay_in_their_range_and_fall_with_size(min_weight, seed):
    g = torch.Generator().manual_seed(seed)
    change = torch.randn(4, 5, generator=g)
    mask = torch.rand(4, 5, generator=g) < 0.8
    w = steer_weights(change, mask, min_weight=min_weight)
    assert w[~mask].abs().sum() == 0
    if mask.any():
        assert w[mask].min() == pytest.approx(min_weight, rel=1e-5)
        assert w[mask].max() <= 1
        order = change[mask].abs().argsort()
        assert (w[mask][order].diff() <= 1e-6).all()


def test_a_quantile_scale_saturates_the_outliers():
    r = recipe("dapo+steer(min_weight=0.5, scale_quantile=0.5, scope='micro', iclip=False)")
    _, g = loss_and_gradient(r)
    _, plain = loss_and_gradient(recipe("dapo"))
    ratio = (g / plain)[plain != 0]
    assert (ratio < 0.5 + 1e-6).sum() >= 2  # everything at or above the median gets the least weight


def test_degenerate_batches():
    zero, nothing = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    everything = ~nothing
    assert (steer_weights(zero, everything) == 1).all()
    torch.testing.assert_close(
        steer_weights(zero, everything, min_weight=0.8, max_weight=1.2, mapping="linear"), torch.ones(2, 3)
    )
    assert steer_weights(zero, nothing).abs().max() == 0
    broken = PolicyStats(logp=torch.full((1, 2), -1.0), entropy=torch.tensor([[math.nan, 2.0]]))
    change = entropy_change(broken, broken.logp, torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    assert change[0, 0] == 0
    assert change[0, 1] != 0
    certain = PolicyStats(logp=torch.zeros(1, 1), entropy=torch.zeros(1, 1))
    assert torch.isfinite(entropy_change(certain, torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1) > 0)).all()


def test_missing_statistics_raise_instead_of_becoming_another_mode():
    bare = PolicyStats(logp=torch.zeros(1, 1))
    with pytest.raises(ValueError, match="steer .theorem. needs the statistic 'entropy'"):
        entropy_change(bare, bare.logp, bare.logp, torch.ones(1, 1) > 0)
    with pytest.raises(ValueError, match="needs the statistic 'collision'"):
        entropy_change(PolicyStats(bare.logp, bare.logp), bare.logp, bare.logp, torch.ones(1, 1) > 0, form="exact")


def test_needs_follow_the_form():
    assert recipe("grpo+steer").needs == {"logp", "entropy"}
    assert recipe("grpo+steer(form='exact')").needs == {"logp", "entropy", "collision", "weighted_surprise"}
