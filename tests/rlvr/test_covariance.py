"""Worked numbers of the entropy-mechanism sheet, checks 4 and 6, and properties of Clip-Cov and KL-Cov."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import Context, PolicyStats, Rollouts, recipe
from entrokit.rlvr.interventions.covariance import draw_clip_cov, token_covariance, top_covariance

from .fixture_a import MASK, advantages, logp, loss_and_gradient, rollouts, stats, tensor


def test_check_4_covariance():
    expected = tensor([[0.875510, -1.010204, 0.532653, -0.067347], [-1.224490, 2.146939, -0.481633, 0]])
    cov = token_covariance(logp(), advantages(), MASK)
    torch.testing.assert_close(cov, expected, atol=1e-6, rtol=0)
    assert not cov.requires_grad


# The sheet's losses are means over tokens; dapo is the base with that aggregation.
@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("dapo+kl-cov(ratio=2e-4, scope='micro')", 0.086879),
        ("dapo+kl-cov(ratio=0.3, scope='micro')", 0.101165),
        ("dapo(clip_high=0.2)+clip-cov(ratio=1.0, low=0.0, high=5.0, scope='micro')", 0.318168),
        ("dapo(clip_low=1.0, clip_high=1.0)+clip-cov(ratio=1.0, low=0.0, high=5.0, scope='micro')", 0.147674),
        ("dapo(clip_high=0.2)+clip-cov(ratio=1.0, low=1.0, high=5.0, scope='micro')", 0.077577),
    ],
)
def test_check_4_losses(spec, value):
    loss, _ = loss_and_gradient(recipe(spec))
    assert loss == pytest.approx(value, abs=1e-6)


def test_check_4_kl_cov_gradient():
    _, g = loss_and_gradient(recipe("dapo+kl-cov(ratio=0.3, scope='micro')"))
    assert g[0, 0].item() == pytest.approx(0.016552, abs=1e-6)


def test_the_batch_wide_choice_is_made_by_the_behaviour_policy():
    batch, adv = rollouts(), torch.where(MASK, advantages(), 0.0)
    prepared = recipe("dapo+kl-cov(ratio=0.3)").prepare(batch, adv)
    cov = token_covariance(batch.behaviour.logp, adv, MASK)
    assert prepared["kl-cov/chosen"].sum() == 2
    assert cov[prepared["kl-cov/chosen"]].min() >= cov[MASK & ~prepared["kl-cov/chosen"]].max()


def test_clip_cov_silences_exactly_its_tokens():
    weighted = recipe("dapo(clip_high=0.2)+clip-cov(ratio=1.0, low=0.0, high=5.0, scope='micro')")
    _, g = loss_and_gradient(weighted)
    _, plain = loss_and_gradient(recipe("dapo(clip_high=0.2)"))
    chosen = (token_covariance(logp(), advantages(), MASK) > 0) & MASK
    assert g[chosen].abs().max() == 0
    torch.testing.assert_close(g[~chosen], plain[~chosen])


@given(st.floats(0.01, 1.0), st.integers(0, 1000))
def test_draw_takes_the_asked_number_from_the_band(ratio, seed):
    g = torch.Generator().manual_seed(seed)
    cov = torch.randn(5, 6, generator=g)
    mask = torch.rand(5, 6, generator=g) < 0.8
    chosen = draw_clip_cov(cov, mask, ratio=ratio, low=0.2, high=1.5, context=Context(generator=g))
    candidates = mask & (cov > 0.2) & (cov < 1.5)
    assert not (chosen & ~candidates).any()
    assert chosen.sum() == min(max(int(ratio * int(mask.sum())), 1), int(candidates.sum()))


def test_draw_is_uniform_over_candidates():
    cov, mask = torch.ones(1, 4), torch.tensor([[True, True, True, False]])
    g = torch.Generator().manual_seed(3)
    counts = sum(
        draw_clip_cov(cov, mask, ratio=0.1, low=0, high=2, context=Context(generator=g)).int() for _ in range(3000)
    )
    # Binomial(3000, 1/3): standard deviation 26.
    assert counts[0, 3] == 0
    assert (counts[0, :3] - 1000).abs().max() < 110


def test_degenerate_batches():
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert token_covariance(torch.randn(2, 3), torch.randn(2, 3), nothing).abs().max() == 0
    assert not draw_clip_cov(torch.randn(2, 3), nothing).any()
    assert not top_covariance(torch.randn(2, 3), nothing).any()
    everything = torch.ones(2, 3, dtype=torch.bool)
    flat = token_covariance(torch.randn(2, 3), torch.full((2, 3), 0.7, dtype=torch.float64), everything)
    assert flat.abs().max() < 1e-9
    assert not draw_clip_cov(flat, everything, low=0.5, high=2).any()
    assert top_covariance(flat, everything, ratio=0.5).sum() == 3


def test_kl_cov_without_a_step_since_sampling_is_the_policy_gradient():
    x, batch = logp(), rollouts()
    same = PolicyStats(logp=x.detach() * MASK, entropy=batch.behaviour.entropy)
    on_policy = type(batch)(**{**batch.__dict__, "behaviour": same})
    adv = torch.where(MASK, advantages(), 0.0)
    r = recipe("dapo+kl-cov(ratio=1.0)")
    loss = r.loss(stats(x), on_policy, adv, r.prepare(on_policy, adv))
    (g,) = torch.autograd.grad(loss.loss, x)
    torch.testing.assert_close(g, -adv / 7)
    assert "cannot act with one update per rollout" in r.cannot_act(updates_per_rollout=1)[0]
    assert r.cannot_act(updates_per_rollout=2) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("grpo+clip-cov(ratio=0)", r"clip-cov: ratio must be a number in \(0, 1\], got 0"),
        ("grpo+clip-cov(low=2, high=1)", r"clip-cov: high must be a number in \[2, inf\]"),
        ("grpo+kl-cov(coef=-1)", "kl-cov: coef"),
        ("grpo+kl-cov(scope='batch')", r"kl-cov: scope must be one of \['generation', 'micro', 'step'\]"),
    ],
)
def test_knobs_out_of_range(spec, message):
    with pytest.raises(ValueError, match=message):
        recipe(spec)


def test_micro_batches_and_updates_draw_independently_and_one_asked_twice_alike():
    """Places are drawn anew for every micro-batch and update, and again alike when the same loss is asked for twice."""
    g = torch.Generator().manual_seed(0)
    rows, length = 16, 40
    logp = -torch.rand(rows, length, generator=g, dtype=torch.float64)
    everywhere = torch.ones(rows, length, dtype=torch.bool)
    b = Rollouts(
        tokens=torch.zeros(rows, length, dtype=torch.long),
        real=everywhere,
        trained=everywhere,
        group=torch.zeros(rows, dtype=torch.long),
        reward=torch.zeros(rows),
        behaviour=PolicyStats(logp=logp),
    )
    A = torch.randn(rows, length, generator=g, dtype=torch.float64)
    r = recipe("dapo+clip-cov(ratio=0.2, low=-9.0, high=9.0, scope='micro')")
    prepared = r.prepare(b, A, Context(generator=torch.Generator().manual_seed(4)))
    assert not [v for v in prepared.values() if not v.dim()], "a seed is no number to log"

    def dropped(rows, shift):
        part = Rollouts.from_columns({k: v[rows] for k, v in b.columns().items()})
        x = (part.behaviour.logp + shift).requires_grad_()
        own = {k: v[rows] for k, v in prepared.items()}
        (gradient,) = torch.autograd.grad(r.loss(PolicyStats(logp=x), part, A[rows], own).loss, x)
        return gradient == 0

    one, other = slice(0, 8), slice(8, 16)
    assert torch.equal(dropped(one, 0.0), dropped(one, 0.0))
    draws = [dropped(one, 0.0), dropped(other, 0.0), dropped(one, 1e-3), dropped(other, 1e-3)]
    assert [int(d.sum()) for d in draws] == [64] * 4
    for i in range(4):
        for j in range(i):
            shared = int((draws[i] & draws[j]).sum())
            # Of 64 places of 320 in each, independent draws share 12.8 ± 2.9.
            assert shared < 12.8 + 6 * 2.9, (i, j)
