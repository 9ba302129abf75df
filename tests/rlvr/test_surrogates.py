"""Worked numbers of the entropy-mechanism sheet, checks 1 to 3, and the surrogates' own properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import Totals, aggregate, cispo_loss, gspo_loss, policy_gradient_loss, ppo_clip_loss, recipe

from .fixture_a import MASK, advantages, logp, loss_and_gradient, old, tensor


def aggregated(loss, mode="token-mean", totals=None):
    return aggregate(loss, MASK, mode, totals).item()


def gradient_of(loss_function, mode="token-mean"):
    x = logp()
    (g,) = torch.autograd.grad(aggregate(loss_function(x), MASK, mode), x)
    return g


def test_check_1_ratios():
    ratio = -policy_gradient_loss(logp(), old(), torch.ones(2, 4)).detach()
    expected = tensor([[1.105171, 0.740818, 1, 1.491825], [1, 0.548812, 1.349859, 1]])
    torch.testing.assert_close(ratio, expected, atol=1e-6, rtol=0)
    assert ((old() - logp()) * MASK).sum().item() / 7 == pytest.approx(0.014286, abs=1e-6)


@pytest.mark.parametrize(
    ("mode", "value"),
    [
        ("token-mean", 0.077577),
        ("seq-mean-token-mean", 0.225373),
        ("seq-mean-token-sum", 0.271520),
        ("seq-mean-token-sum-norm", 0.067880),
    ],
)
def test_check_2_clip_under_every_aggregation(mode, value):
    loss = ppo_clip_loss(logp(), old(), advantages(), dual_clip=None)
    assert aggregated(loss, mode, Totals(length=4)) == pytest.approx(value, abs=1e-6)


def test_check_2_clip_gradient():
    g = gradient_of(lambda x: ppo_clip_loss(x, old(), advantages(), dual_clip=None))
    expected = tensor([[-0.126305, -0.084665, -0.114286, 0], [0.171429, 0, 0.231404, 0]])
    torch.testing.assert_close(g, expected, atol=1e-6, rtol=0)


def test_check_2_clip_higher():
    assert aggregated(ppo_clip_loss(logp(), old(), advantages(), clip_high=0.28)) == pytest.approx(0.068434, abs=1e-6)


def test_check_2_cispo():
    def loss(x):
        return cispo_loss(x, old(), advantages(), clip_low=10, clip_high=0.2)

    assert aggregated(loss(logp())) == pytest.approx(-0.005743, abs=1e-6)
    expected = tensor([[-0.126305, -0.084665, -0.114286, -0.137143], [0.171429, 0.094082, 0.205714, 0]])
    torch.testing.assert_close(gradient_of(loss), expected, atol=1e-6, rtol=0)


def test_check_2_gspo():
    def loss(low, high):
        return lambda x: gspo_loss(x, old(), advantages(), MASK, clip_low=low, clip_high=high)

    mode = "seq-mean-token-mean"
    assert aggregated(loss(0.2, 0.2)(logp()), mode) == pytest.approx(0.122394, abs=1e-6)
    g = gradient_of(loss(0.2, 0.2), mode)
    torch.testing.assert_close(g, tensor([[-0.105127] * 4, [0.180967] * 3 + [0.0]]), atol=1e-6, rtol=0)
    assert aggregated(loss(3e-4, 4e-4)(logp()), mode) == pytest.approx(0.199660, abs=1e-6)
    assert gradient_of(loss(3e-4, 4e-4), mode).abs().max() == 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(5, -1, 3), (2, -1, 2), (0.5, -1, 0.8), (5, 1, -1.28), (0.5, 1, -0.5)],
)
def test_check_3_dual_clip(ratio, advantage, expected):
    loss = ppo_clip_loss(
        torch.tensor([[float(ratio)]]).log(),
        torch.zeros(1, 1),
        torch.full((1, 1), float(advantage)),
        clip_high=0.28,
    )
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("dapo", 0.068434),
        ("grpo(dual_clip=None)", 0.225373),
        ("dr_grpo(dual_clip=None)", 0.067880),
        ("gspo", 0.199660),
        ("gspo(clip_low=0.2, clip_high=0.2)", 0.122394),
    ],
)
def test_bases_are_those_losses(spec, value):
    loss, _ = loss_and_gradient(recipe(spec), totals=Totals(length=4))
    assert loss == pytest.approx(value, abs=1e-6)


def random_batch():
    x = (torch.randn(3, 4, dtype=torch.float64) * 0.3 - 1).requires_grad_()
    return x, x.detach() + 0.3 * torch.randn_like(x), torch.randn_like(x)


def test_gradients_against_finite_differences():
    x, o, a = random_batch()
    assert torch.autograd.gradcheck(lambda x: policy_gradient_loss(x, o, a), (x,))
    clip = {"clip_low": 0.21, "clip_high": 0.23, "dual_clip": 2.0}
    assert torch.autograd.gradcheck(lambda x: ppo_clip_loss(x, o, a, **clip), (x,))


def test_stop_gradient_losses_against_their_closed_gradients():
    """CISPO and GSPO hold parts constant, so finite differences of the value do not apply to them."""
    x, o, a = random_batch()
    (g,) = torch.autograd.grad(cispo_loss(x, o, a, clip_low=0.2, clip_high=0.2).sum(), x)
    torch.testing.assert_close(g, -a * (x - o).exp().clamp(0.8, 1.2).detach())
    everything = torch.ones(3, 4, dtype=torch.bool)
    (g,) = torch.autograd.grad(gspo_loss(x, o, a, everything, clip_low=0.1, clip_high=0.1).sum(), x)
    s = (x - o).mean(-1, keepdim=True).exp().detach()
    outside = ((a > 0) & (s > 1.1)) | ((a < 0) & (s < 0.9))
    assert outside.any()
    assert not outside.all()
    torch.testing.assert_close(g, torch.where(outside, 0.0, -a * s))


@given(st.integers(0, 10_000))
def test_on_policy_gradient_is_the_policy_gradient(seed):
    g = torch.Generator().manual_seed(seed)
    x = -torch.rand(2, 3, generator=g, dtype=torch.float64)
    a = torch.randn(2, 3, generator=g, dtype=torch.float64)
    mask = torch.ones(2, 3, dtype=torch.bool)
    for loss in (
        policy_gradient_loss,
        ppo_clip_loss,
        cispo_loss,
        lambda x, o, a: gspo_loss(x, o, a, mask),
    ):
        y = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(y, x, a).sum(), y)
        torch.testing.assert_close(gradient, -a)


def test_huge_log_ratios_stay_finite():
    x = torch.tensor([[0.0, -200.0]], requires_grad=True)
    o = torch.tensor([[-200.0, 0.0]])
    for loss in (policy_gradient_loss, ppo_clip_loss, cispo_loss):
        value = loss(x, o, torch.tensor([[-1.0, 1.0]]))
        assert torch.isfinite(value).all()
        assert torch.isfinite(torch.autograd.grad(value.sum(), x)[0]).all()


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"])
def test_aggregation_of_parts_adds_up_and_ignores_padding(mode):
    loss = torch.randn(8, 5, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([5, 0, 3, 1, 2, 5, 4, 0])[:, None]
    loss[~mask] = float("nan")
    totals = Totals(tokens=mask.sum(), rows=8, length=5)
    whole = aggregate(loss, mask, mode, totals)
    alone = aggregate(loss, mask, mode, Totals(length=5))
    rows = 1 if mode == "token-mean" else 8 / 6
    torch.testing.assert_close(alone, whole * rows, msg="two rows have no token, and are none")
    for size in (1, 2, 4):
        parts = [aggregate(loss[i : i + size], mask[i : i + size], mode, totals) for i in range(0, 8, size)]
        torch.testing.assert_close(sum(parts), whole)


def test_aggregation_of_nothing_is_zero_with_a_graph():
    loss = torch.randn(2, 3, requires_grad=True)
    for mode in ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"):
        value = aggregate(loss, torch.zeros(2, 3, dtype=torch.bool), mode)
        assert value.item() == 0
        assert torch.autograd.grad(value, loss)[0].abs().max() == 0
    with pytest.raises(ValueError, match="unknown mode 'mean'; valid names"):
        aggregate(loss, torch.ones(2, 3, dtype=torch.bool), "mean")
