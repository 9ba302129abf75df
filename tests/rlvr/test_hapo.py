"""Worked numbers of the hapo sheet, checks 1 to 7, and properties of HAPO's parts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.decoding.adaptive_temperature import EntropyTemperature, entropy_scale
from entrokit.rlvr import PolicyStats, StepMeans, grpo_advantages, recipe
from entrokit.rlvr.interventions.hapo import (
    adaptive_clip,
    normalized_log_entropy,
    redistribution_weights,
    token_group_advantages,
)

from .fixture_a import ENTROPY, MASK, advantages, logp, loss_and_gradient, old, rollouts, stats, tensor

H_HALF = [[-0.5, 0.775490, 0, 0.224510], [-1, 1, -0.184535, 0]]
H_DEFAULT = [[-0.619906, 0, -0.239812, -0.170385], [-1, 1, -0.380094, 0]]


def h_hat(**options):
    return normalized_log_entropy(tensor(ENTROPY), MASK, **options)


@pytest.mark.parametrize(("pivot", "at", "expected"), [(0.5, 0.9, H_HALF), (0.8, 1.8, H_DEFAULT)])
def test_check_1_normalised_entropy(pivot, at, expected):
    h, scale = h_hat(pivot=pivot)
    assert scale.pivot.exp().item() == pytest.approx(at)
    torch.testing.assert_close(h, tensor(expected), atol=1e-6, rtol=0)
    # The released code's sign error: certain tokens come out as uncertain ones.
    torch.testing.assert_close(h_hat(pivot=pivot, legacy_sign=True)[0], tensor(expected).abs(), atol=1e-6, rtol=0)


def test_check_2_adaptive_clip():
    low, high = adaptive_clip(h_hat(pivot=0.5)[0])
    expected_low = [[0.3, 0.2, 0.2, 0.2], [0.4, 0.2, 0.236907, 0.2]]
    expected_high = [[0.2, 0.355098, 0.2, 0.244902], [0.2, 0.4, 0.2, 0.2]]
    torch.testing.assert_close(low, tensor(expected_low), atol=1e-6, rtol=0)
    torch.testing.assert_close(high, tensor(expected_high), atol=1e-6, rtol=0)


def test_check_3_redistribution():
    h, _ = h_hat(pivot=0.5)
    low, high = adaptive_clip(h)
    A = advantages() * redistribution_weights(h, (logp() - old()).exp(), low, high)
    expected = tensor([[0.8, 1.420392, 0.8, 0.979608], [0, -2.4, -1.2, 0]])
    torch.testing.assert_close(A[MASK], expected[MASK], atol=1e-6, rtol=0)


BASE = "dapo(clip_high=0.2, dual_clip=10.0)"


def both(**options):
    knobs = ", ".join(f"{k}={v!r}" for k, v in options.items())
    return recipe(f"{BASE}+redistribute-advantage({knobs})+adaptive-clip({knobs})")


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"pivot": 0.5}, -0.059439),
        ({"pivot": 0.8}, 0.070698),
        ({"pivot": 0.5, "legacy_sign": True}, 0.154692),
        ({"pivot": 0.8, "legacy_sign": True}, 0.274750),
    ],
)
@pytest.mark.parametrize("scope", ["generation", "micro"])
def test_check_4_loss(options, value, scope):
    # On the fixture the behaviour policy's entropies are the current ones, so both scopes agree.
    loss, g = loss_and_gradient(both(**options, scope=scope))
    assert loss == pytest.approx(value, abs=1e-6)
    if options == {"pivot": 0.5}:
        expected = tensor([[-0.126305, -0.150322, -0.114286, 0], [0, 0, 0.231404, 0]])
        torch.testing.assert_close(g, expected, atol=1e-6, rtol=0)


def group_of(lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_check_5_token_group_average_removes_the_bias_of_length():
    mask, reward, group = group_of([2, 5, 3, 4]), tensor([1, 0, 1, 0]), torch.zeros(4, dtype=torch.long)
    A = token_group_advantages(reward, group, mask)
    torch.testing.assert_close(A[:2, 0], tensor([1.341638, -0.745354]), atol=2e-6, rtol=0)
    assert A.sum().abs() < 1e-9
    grpo = grpo_advantages(reward, group)[:, None] * mask
    assert grpo.sum().item() == pytest.approx(-3.464, abs=1e-3)
    # A filler token with p = 0.7 in every place: what the token-mean loss does to its logit.
    p = 0.7
    assert ((1 - p) * -A.sum() / 14).abs() < 1e-5
    assert ((1 - p) * -grpo.sum() / 14).item() == pytest.approx(0.074231, abs=1e-6)


@pytest.mark.parametrize(("lengths", "expected"), [([2, 60], [0.707106, -0.707106]), ([3, 60], [4.472115, -0.223606])])
def test_check_6_fallback(lengths, expected):
    A = token_group_advantages(tensor([1, 0]), torch.zeros(2, dtype=torch.long), group_of(lengths))
    torch.testing.assert_close(A[:, 0], tensor(expected), atol=2e-6, rtol=0)


def test_check_7_temperature():
    H = tensor([0.05, 0.2, 0.5, 1.0, 1.5])
    scale = entropy_scale(H)
    assert scale.pivot.exp().item() == pytest.approx(1.0)
    h = scale.normalise(H)
    torch.testing.assert_close(h, tensor([-1, -0.537244, -0.231378, 0, 1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(1 + 0.05 * h, tensor([0.95, 0.973138, 0.988431, 1, 1.05]), atol=1e-6, rtol=0)


def test_the_processor_heats_by_the_entropy_of_its_logits():
    scale = entropy_scale(tensor([0.05, 0.2, 0.5, 1.0, 1.5]))
    logits = tensor([[0, 0, 0, 0, 0], [30, 0, 0, 0, 0], [0, 0, -60, -60, -60]])
    processor = EntropyTemperature(scale, tau=0.1)
    factor = processor.factor(logits)
    middle = 1 + 0.1 * scale.normalise(tensor([2.0]).log()).item()
    torch.testing.assert_close(factor, tensor([[1.1], [0.9], [middle]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(processor(torch.zeros(3, 1), logits), logits / factor)


@given(st.lists(st.floats(1e-3, 8.0), min_size=1, max_size=30), st.floats(0.0, 1.0), st.floats(0.1, 10.0))
def test_h_is_bounded_ordered_and_blind_to_the_unit_of_entropy(values, pivot, unit):
    H = tensor(values)
    h = entropy_scale(H, pivot=pivot).normalise(H)
    assert h.abs().max() <= 1
    assert (h[H.argsort()].diff() >= 0).all()
    other = entropy_scale(unit * H, pivot=pivot).normalise(unit * H)
    # Entropies that differ by rounding alone may land anywhere on a scale of the smallest spread.
    wide = (H.log() - H.log()[0]).abs().max() > 1e-3
    if wide:
        torch.testing.assert_close(other, h, atol=1e-4, rtol=0)


@given(st.integers(0, 9999))
def test_token_group_advantages_sum_to_zero_in_every_group(seed):
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (8,), generator=g).tolist()
    reward, group = torch.randn(8, generator=g, dtype=torch.float64), torch.arange(8) // 4
    mask = group_of(lengths)
    A = token_group_advantages(reward, group, mask, fallback=1e9)
    assert A.view(2, -1).sum(1).abs().max() < 1e-9
    order = torch.randperm(8, generator=g)
    torch.testing.assert_close(token_group_advantages(reward[order], group[order], mask[order], fallback=1e9), A[order])


def test_degenerate_batches():
    everything, group = torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, dtype=torch.long)
    assert not token_group_advantages(torch.full((7,), 0.7), torch.zeros(7).long(), group_of([3] * 7)).any()
    assert token_group_advantages(tensor([0.7]), group[:1], everything[:1]).abs().max() < 1e-6
    assert token_group_advantages(tensor([1, 0]), group, ~everything).abs().max() == 0
    unscored = token_group_advantages(tensor([1, 0, float("nan")]), torch.zeros(3).long(), everything[[0, 1, 1]])
    torch.testing.assert_close(unscored[:2], token_group_advantages(tensor([1, 0]), group, everything))
    assert unscored[2].abs().max() == 0
    h, _ = normalized_log_entropy(torch.full((2, 3), 0.4), everything)
    assert h.abs().max() == 0
    h, _ = normalized_log_entropy(torch.rand(2, 3), ~everything)
    assert h.abs().max() == 0


def test_exact_zeros_need_not_squeeze_the_others():
    H, mask = torch.tensor([[0.0, 0.2, 0.4, 0.8, 1.6]]), torch.ones(1, 5, dtype=torch.bool)
    squeezed, _ = normalized_log_entropy(H, mask)
    floored, _ = normalized_log_entropy(H, mask, floor=0.1)
    assert squeezed[0, 1] > -0.1
    assert floored[0, 1] == pytest.approx(-2 / 3, abs=1e-6)


def test_neutral_parts_are_the_base_itself():
    plain = loss_and_gradient(recipe(BASE))
    neutral = loss_and_gradient(recipe(f"{BASE}+adaptive-clip(alpha=0.0)+redistribute-advantage(beta=0.0)"))
    assert neutral[0] == plain[0]
    torch.testing.assert_close(neutral[1], plain[1])


def test_redistribution_is_that_of_advantages():
    """A weight on the loss is the same as a weight on the advantage, dual clip included."""
    r, x, batch = both(pivot=0.5), logp(), rollouts()
    A = torch.where(MASK, advantages(), 0.0)
    weighted = r.loss(stats(x), batch, A, r.prepare(batch, A)).loss
    h, _ = h_hat(pivot=0.5)
    low, high = adaptive_clip(h)
    B = A * redistribution_weights(h, (logp() - old()).exp(), low, high)
    alone = recipe(f"{BASE}+adaptive-clip(pivot=0.5)")
    torch.testing.assert_close(alone.loss(stats(x), batch, B, alone.prepare(batch, A)).loss, weighted)


def test_the_scale_is_remembered_and_the_first_batch_is_sampled_as_usual():
    r, batch = recipe("grpo+adaptive-temperature"), rollouts()
    assert r.decode() == []
    A = torch.where(MASK, advantages(), 0.0)
    current, seen = PolicyStats(logp=logp(), entropy=tensor(ENTROPY)), StepMeans()
    seen.add(r.loss(current, batch, A, r.prepare(batch, A)), current, batch)
    r.observe(seen.take(), None)
    (processor,) = r.decode()
    assert processor.scale.pivot.exp().item() == pytest.approx(1.8)
    again = recipe("grpo+adaptive-temperature")
    again.load_state_dict(r.state_dict())
    assert again.interventions[0].last == r.interventions[0].last


def test_the_preset_is_the_whole_recipe():
    assert str(recipe("hapo")) == (
        f"{BASE}+adaptive-temperature+token-group-average+adaptive-clip+redistribute-advantage"
    )
    assert str(recipe("hapo+steer")).endswith("redistribute-advantage+steer")
