"""LSQ and a plain straight-through estimator beside StatsQ: values and gradients of the family, and activations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from entrokit.compression.ofq import (
    ActivationQuantizer,
    LearnedStepQuantizer,
    MaxQuantizer,
    StatsQuantizer,
    confidence_distance,
    learned_step_quantize,
    stats_codes,
    stats_quantize,
    updatable_mask,
)

from ..rounding import assert_within, bound, unit
from .ofq_cases import W

FAMILY = {
    "statsq": lambda bits, weight: StatsQuantizer(bits),
    "lsq": LearnedStepQuantizer,
    "ste": lambda bits, weight: MaxQuantizer(bits),
}


def test_the_module_is_the_function():
    quantizer = StatsQuantizer(3)
    assert torch.equal(quantizer(W), stats_quantize(W, 3))
    assert torch.equal(quantizer.codes(W), stats_codes(W, 3))
    assert torch.equal(quantizer.distance(W), confidence_distance(W, 3))


@pytest.mark.parametrize("method", FAMILY)
@given(seed=st.integers(0, 2**31), bits=st.integers(2, 8))
def test_values_are_steps_times_codes(method, seed, bits):
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    quantizer = FAMILY[method](bits, weight)
    steps, place = quantizer.grid(weight)
    codes, n = quantizer.codes(weight), 2 ** (bits - 1)
    assert -n <= int(codes.min())
    assert int(codes.max()) < n
    assert torch.equal(quantizer(weight), steps * (codes + quantizer.offset))
    distances = quantizer.distance(weight)
    assert bool(((distances >= 0) & (distances <= 1)).all())
    # As far as its threshold is, a weight may go without a change of code.
    between = (place > -n) & (place < n - 1.5)
    moved = (place + 0.999 * distances * (place.floor() + 0.5 - place).sign()).round()
    assert torch.equal(moved[between], codes[between].double())


def test_max_levels_span_the_range():
    weight = tensor([[1.0, -1.0, 0.3, -0.6], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64).requires_grad_()
    quantized = MaxQuantizer(2)(weight)
    assert quantized.tolist() == [[0.75, -0.75, 0.25, -0.75], [0.0] * 4]
    quantized.sum().backward()
    assert weight.grad.tolist() == [[1.0] * 4] * 2


def test_learned_steps_start_where_the_code_has_them():
    quantizer = LearnedStepQuantizer(4, W)
    torch.testing.assert_close(quantizer.step.detach(), 2 * W.abs().mean(1, keepdim=True) / math.sqrt(7))


def test_learned_step_gradients_by_hand():
    x = tensor([[0.26, -0.9, 3.0, -4.0]], dtype=torch.float64, requires_grad=True)
    step = tensor([[0.5]], dtype=torch.float64, requires_grad=True)
    quantized = learned_step_quantize(x, step, -2, 1)
    assert quantized.tolist() == [[0.5, -1.0, 0.5, -1.0]]
    quantized.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    # v = 0.52, -1.8, and the ends 1 and -2; g = 1 / √(Q_P N) = 1 / 2.
    expected = ((1 - 0.52) + (-2 + 1.8) + 1 - 2) / 2
    assert float(step.grad) == pytest.approx(expected, abs=1e-12)


def test_steps_below_the_floor_count_as_the_floor_and_still_learn():
    x = tensor([[1e-6, -1e-6]], dtype=torch.float64)
    step = tensor([[-3.0]], dtype=torch.float64, requires_grad=True)
    quantized = learned_step_quantize(x, step, -2, 1)
    assert quantized.abs().max() == 0.0
    quantized.sum().backward()
    assert step.grad is not None
    assert LearnedStepQuantizer(2, torch.zeros(2, 3))(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_torch_s_own_learnable_fake_quantisation_gives_the_same(bits):
    n = 2 ** (bits - 1)
    weight, G = (torch.randn(4, 30, generator=torch.Generator().manual_seed(bits + i)) for i in range(2))
    quantizer = LearnedStepQuantizer(bits, weight)
    own, peer = (weight.clone().requires_grad_() for _ in range(2))
    steps = quantizer.step.detach().flatten().requires_grad_()
    ours, g = quantizer(own), 1 / math.sqrt((n - 1) * 30)
    theirs = torch._fake_quantize_learnable_per_channel_affine(peer, steps, torch.zeros(4), 0, -n, n - 1, g)
    assert not (quantizer.distance(weight) < 1e-4).any()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    (G * ours).sum().backward()
    (G * theirs).sum().backward()
    # Beyond the last level by less than half a step torch still lets through: its mask is of codes, ours of places.
    v = weight / quantizer.step.detach()
    band = ((v > n - 1) & (v < n - 0.5)) | ((v < -n) & (v > -n - 0.5))
    # The gradient of a product of three in torch, of two here: two roundings apart.
    torch.testing.assert_close(own.grad[~band], peer.grad[~band], rtol=4 * unit(), atol=0)
    rows = ~band.any(1)
    size = (G.abs() * 2 * n).sum(1) * g
    for i in rows.nonzero().flatten().tolist():
        assert_within(quantizer.step.grad.flatten()[i], steps.grad[i], bound(float(size[i]), 34))


def test_a_boundary_range_masks_only_in_training():
    quantizer = StatsQuantizer(2)
    quantizer.boundary_range = 0.12
    for training in (True, False):
        weight = W.clone().requires_grad_()
        quantizer.train(training)(weight).sum().backward()
        expected = updatable_mask(W, 2, 0.12).double() if training else torch.ones_like(W)
        assert torch.equal(weight.grad, expected)
    quantizer.train().boundary_range = -1.0
    with pytest.raises(ValueError, match="finite and at least 0"):
        quantizer(W)


def test_a_boundary_range_of_lsq_leaves_the_steps_their_gradient():
    plain, masked = (LearnedStepQuantizer(3, W) for _ in range(2))
    masked.boundary_range = 0.1
    weights = [W.clone().requires_grad_() for _ in range(2)]
    for quantizer, weight in zip((plain, masked), weights, strict=True):
        quantizer(weight).sum().backward()
    assert torch.equal(plain.step.grad, masked.step.grad)
    near = plain.distance(W) <= 0.1
    assert near.any()
    assert torch.equal(weights[1].grad, torch.where(near, weights[0].grad, 0.0))


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half(method, half):
    weight = torch.randn(3, 8).to(half).requires_grad_()
    quantizer = FAMILY[method](3, weight.detach())
    quantized = quantizer(weight)
    assert quantized.dtype == half
    quantized.float().sum().backward()
    assert weight.grad.dtype == half
    assert bool(weight.grad.isfinite().all())


@pytest.mark.parametrize("method", FAMILY)
def test_weights_that_are_refused(method):
    quantizer = FAMILY[method](2, torch.randn(3, 4))
    for weight, error in ((torch.full((3, 4), math.nan), ValueError), (torch.ones(3), ValueError)):
        for call in (quantizer, quantizer.codes, quantizer.distance):
            with pytest.raises(error):
                call(weight)
    with pytest.raises(TypeError, match="int64"):
        quantizer(torch.ones(3, 4, dtype=torch.long))
    for bits in (1, 9):
        with pytest.raises(ValueError, match="from 2 to 8"):
            FAMILY[method](bits, torch.randn(3, 4))


def test_steps_of_another_shape_are_refused():
    quantizer = LearnedStepQuantizer(2, torch.randn(3, 4))
    with pytest.raises(ValueError, match=r"\[3, 1\] are for other weights; those of shape \[4, 4\] need \[4, 1\]"):
        quantizer(torch.randn(4, 4))
    with pytest.raises(ValueError, match=r"\[2, 1\] do not broadcast to \[3, 4\]"):
        learned_step_quantize(torch.randn(3, 4), torch.ones(2, 1), -2, 1)
    with pytest.raises(ValueError, match=r"\[5, 3, 1\] do not broadcast"):
        learned_step_quantize(torch.randn(3, 4), torch.ones(5, 3, 1), -2, 1)
    with pytest.raises(ValueError, match="got 1 to 1"):
        learned_step_quantize(torch.randn(3, 4), torch.ones(3, 1), 1, 1)


class TestActivations:
    def test_steps_start_from_the_first_batch(self):
        quantizer, x = ActivationQuantizer(3, 4, 5), torch.randn(2, 4, 5)
        assert not quantizer.started
        quantizer(x)
        torch.testing.assert_close(quantizer.step.detach(), 2 * x.abs().mean((0, 2)) / math.sqrt(3))
        before = quantizer.step.detach().clone()
        quantizer(10 * x)
        assert torch.equal(quantizer.step.detach(), before)
        again = ActivationQuantizer(3, 4, 5)
        again.load_state_dict(quantizer.state_dict())
        assert torch.equal(again(10 * x), quantizer(10 * x))

    def test_every_token_has_its_levels(self):
        quantizer, x = ActivationQuantizer(2, 4, 5), torch.randn(3, 4, 5) * torch.tensor([[1.0], [10.0], [0.1], [3.0]])
        found = quantizer(x)
        codes = (found / quantizer.step[:, None]).detach()
        torch.testing.assert_close(codes, codes.round())
        assert set(codes.round().flatten().tolist()) <= {-2.0, -1.0, 0.0, 1.0}

    def test_unsigned_ones_of_attention(self):
        quantizer = ActivationQuantizer(2, 4, signed=False)
        attention = torch.randn(2, 3, 4, 4).softmax(-1)
        found = quantizer(attention)
        torch.testing.assert_close(quantizer.step.detach(), 4 * attention.mean((0, 1, 3)) / math.sqrt(3))
        codes = (found / quantizer.step[:, None]).detach().round()
        assert set(codes.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}

    def test_biases_before_and_after(self):
        quantizer, x = ActivationQuantizer(4, 3, 2, dim=-2), torch.randn(2, 3, 2)
        plain = quantizer(x)
        with torch.no_grad():
            quantizer.before.fill_(100.0)
            quantizer.after.copy_(tensor([7.0, -7.0]))
        top = quantizer.step.detach()[:, None] * 7
        assert torch.equal(quantizer(x), (top + tensor([7.0, -7.0])).expand_as(plain))

    def test_bad_input_is_named(self):
        for arguments in ((2, 0), (2, 3, 0)):
            with pytest.raises(ValueError, match="at least 1"):
                ActivationQuantizer(*arguments)
        with pytest.raises(ValueError, match="counted from the last"):
            ActivationQuantizer(2, 3, dim=1)
        with pytest.raises(ValueError, match="from 2 to 8"):
            ActivationQuantizer(1, 3)
        quantizer = ActivationQuantizer(2, 3, 5)
        with pytest.raises(ValueError, match=r"expected 3 at dimension -2, got shape \[2, 4, 5\]"):
            quantizer(torch.ones(2, 4, 5))
        with pytest.raises(ValueError, match="biases are for 5 features"):
            quantizer(torch.ones(2, 3, 4))
        with pytest.raises(ValueError, match="got shape"):
            quantizer(torch.ones(5))
        with pytest.raises(ValueError, match="first batch holds NaN"):
            quantizer(torch.full((2, 3, 5), math.nan))
        assert not quantizer.started
        assert quantizer.step.tolist() == [1.0] * 3
