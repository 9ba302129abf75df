"""Perplexity and position shaping: the sheet's numbers, signs, padding, outliers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions import token_statistics
from entrokit.rlvr import Context, recipe
from entrokit.rlvr.interventions.exchange import (
    log_perplexity,
    ppl_weight,
    shape_advantage_position,
    shape_advantage_ppl,
)

from .cases import batch

D = torch.float64
LOGP = torch.tensor(
    [[-0.1, -0.5, -0.2, -1.2], [-0.05, -0.1, -0.02, -9], [-0.8, -0.9, -1.5, -2], [-0.3, -0.2, -0.1, -0.4]], dtype=D
)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)
GROUP = torch.zeros(4, dtype=torch.long)


def scores(logp, mask, group, **options):
    """Scores of completions from their tokens, as the intervention takes them."""
    return ppl_weight(log_perplexity(logp, mask), mask.any(1), group, **options)


def test_perplexity_of_the_paper():
    w, keep = scores(LOGP, MASK, GROUP)
    assert keep.all()
    assert w.tolist() == pytest.approx([-0.056337, -0.992945, 1.633783, -0.584500], abs=1e-6)
    sign = torch.tensor([1.0, 1, -1, -1], dtype=D)
    adv = sign[:, None] * MASK
    for alpha, expected in ((0.01, [1.000563, 1.009929, -0.983662, -1.005845]), (0.5, [1.028169, 1.2, -0.8, -1.2])):
        found = shape_advantage_ppl(adv, w, alpha)
        assert found[:, 0].tolist() == pytest.approx(expected, abs=1e-6)
        assert found[1, 3] == 0
    plain = shape_advantage_ppl(adv, w, 0.5, clip=None)
    assert plain[2, 0] == pytest.approx(-(1 - 0.5 * 1.633783), abs=1e-6)


def test_position_of_the_paper():
    ones = torch.ones(1, 8, dtype=D)
    mask = torch.ones(1, 8, dtype=torch.bool)
    expected = [1.000055, 1.000359, 1.002298, 1.013296, 1.050000, 1.086704, 1.097702, 1.099641]
    assert shape_advantage_position(ones, mask)[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert shape_advantage_position(-ones, mask)[0].tolist() == pytest.approx([-x for x in expected], abs=1e-6)
    small = [0.100055, 0.100359, 0.102298, 0.113296] + [0.15] * 4
    assert shape_advantage_position(0.1 * ones, mask)[0].tolist() == pytest.approx(small, abs=1e-6)
    rise = shape_advantage_position(ones, mask, cap=None)[0] - 1
    assert (rise.diff() > 0).all()
    # b(r) + b(1 - r) = gamma, at r = 1/8 and 7/8.
    assert float(rise[1] + rise[7]) == pytest.approx(0.1, abs=1e-12)


@given(st.integers(0, 1000), st.integers(0, 4), st.integers(0, 3))
def test_signs_padding_and_identity(seed, right, left):
    g = torch.Generator().manual_seed(seed)
    adv = torch.randn(3, 6, generator=g, dtype=D)
    mask = torch.rand(3, 6, generator=g) < 0.7
    adv = torch.where(mask, adv, 0.0)
    shaped = shape_advantage_position(adv, mask)
    assert torch.equal(shaped.sign(), adv.sign())
    assert not shaped[~mask].any()
    torch.testing.assert_close(shape_advantage_position(adv, mask, gamma=0.0), adv)

    def pad(x):
        return torch.nn.functional.pad(x, (left, right))

    wide = shape_advantage_position(pad(adv), pad(mask))
    torch.testing.assert_close(wide, pad(shaped))


@given(st.integers(0, 1000))
def test_scores_have_mean_0_and_square_1_over_the_kept(seed):
    g = torch.Generator().manual_seed(seed)
    logp, mask = -torch.rand(12, 5, generator=g, dtype=D), torch.rand(12, 5, generator=g) < 0.8
    mask[:, 0] = True
    group = torch.arange(12) // 6
    w, keep = scores(logp, mask, group)
    for n in (0, 1):
        own = w[(group == n) & keep]
        assert float(own.mean()) == pytest.approx(0, abs=1e-9)
        assert float(own.square().mean()) == pytest.approx(1, abs=1e-9)


def test_outliers_score_without_being_counted():
    logp = -torch.tensor([[0.5], [0.51], [0.49], [0.5], [0.52], [50.0]], dtype=D)
    w, keep = scores(logp, torch.ones_like(logp, dtype=torch.bool), torch.zeros(6, dtype=torch.long))
    assert keep.tolist() == [True] * 5 + [False]
    assert w[5] > 1000
    w, keep = scores(logp, torch.ones_like(logp, dtype=torch.bool), torch.zeros(6, dtype=torch.long), iqr=None)
    assert keep.all()
    assert w[5] < 3


def test_flat_single_and_empty_groups_are_left_alone():
    logp = torch.tensor([[-0.5, -0.5], [-0.5, -0.5], [-3.0, -1.0], [float("nan")] * 2], dtype=D)
    mask = torch.tensor([[1, 1], [1, 1], [1, 1], [0, 0]], dtype=torch.bool)
    w, keep = scores(logp, mask, torch.tensor([0, 0, 1, 2]))
    assert w.tolist() == [0, 0, 0, 0]
    assert keep.tolist() == [True, True, True, False]


def test_the_size_of_a_token_s_gradient_is_in_its_statistics():
    """``|A| sqrt(1 - 2 π + Σp²)``: what the paper plots needs no more than what an engine computes."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=D, requires_grad=True)
    own = token_statistics(logits.detach().expand(4, 4), torch.arange(4), need={"collision"})
    p, norms = own.logp.exp(), (1 - 2 * own.logp.exp() + own.collision).sqrt()
    assert float(p[1]) == pytest.approx(0.236883, abs=1e-6)
    assert float((p * norms.square()).sum()) == pytest.approx(float(1 - p.square().sum()), abs=1e-12)
    for token in range(4):
        (gradient,) = torch.autograd.grad(-2.0 * logits.log_softmax(-1)[token], logits)
        assert 2 * float(norms[token]) == pytest.approx(float(gradient.norm()), abs=1e-12)


def test_in_a_recipe():
    b = batch()
    plain = recipe("grpo").advantages(b)
    w, _ = scores(b.behaviour.logp, b.trained, b.group)
    torch.testing.assert_close(
        recipe("grpo+perplexity-shaping(alpha=0.1)").advantages(b), shape_advantage_ppl(plain, w, 0.1)
    )
    unclipped = recipe("grpo+perplexity-shaping(alpha=3, low=None, high=None)").advantages(b)
    torch.testing.assert_close(unclipped, shape_advantage_ppl(plain, w, 3.0, None))
    late = recipe("grpo+position-shaping(start=4, end=8)")
    torch.testing.assert_close(late.advantages(b, Context(step=3)), plain)
    torch.testing.assert_close(late.advantages(b, Context(step=8)), plain)
    torch.testing.assert_close(late.advantages(b, Context(step=4)), shape_advantage_position(plain, b.trained))
    with pytest.raises(ValueError, match="end must be a number in"):
        recipe("grpo+position-shaping(start=4, end=3)")
