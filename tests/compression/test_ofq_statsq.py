"""StatsQ: its levels, its gradient, and what is no weight."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from entrokit.compression.ofq import (
    LearnedStepQuantizer,
    StatsQuantizer,
    confidence_distance,
    pack_weight,
    packed_state_dict,
    quantize_model,
    stats_codes,
    stats_quantize,
    stats_scale,
    updatable_mask,
)

from .ofq_cases import W

LEVELS = {
    2: [
        [0.452500, -0.150833, 0.150833, -0.452500, 0.452500, 0.150833],
        [-0.183333, 0.550000, -0.183333, 0.183333, -0.550000, 0.183333],
    ],
    3: [
        [0.377083, -0.075417, 0.075417, -0.527917, 0.377083, 0.226250],
        [-0.091667, 0.641667, -0.275000, 0.091667, -0.641667, 0.275000],
    ],
    4: [
        [0.339375, -0.113125, 0.037708, -0.565625, 0.414792, 0.188542],
        [-0.045833, 0.687500, -0.320833, 0.137500, -0.595833, 0.229167],
    ],
}
# The sheet gives six decimals.
SIX = 6e-7


def matrices(rows=3, columns=7):
    """Weights drawn by a seed: drawn ones have no ties."""
    return st.integers(0, 2**31).map(
        lambda seed: torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )


def test_check_1_scales():
    scale = stats_scale(W)
    assert scale.shape == (2, 1)
    torch.testing.assert_close(scale.flatten(), tensor([0.603333, 0.733333], dtype=torch.float64), rtol=0, atol=SIX)


@pytest.mark.parametrize("bits", LEVELS)
def test_check_1_levels_and_gradient(bits):
    weight, G = W.clone().requires_grad_(), torch.randn_like(W)
    quantized = stats_quantize(weight, bits)
    torch.testing.assert_close(quantized.detach(), tensor(LEVELS[bits], dtype=torch.float64), rtol=0, atol=SIX)
    (G * quantized).sum().backward()
    assert torch.equal(weight.grad, G)


def test_check_2_distances():
    expected = tensor(
        [
            [0.027624, 0.331492, 0.165746, 1.0, 0.392265, 0.403315],
            [0.054545, 0.999998, 0.1, 0.3, 0.581818, 0.290909],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(confidence_distance(W, 2), expected, rtol=0, atol=SIX)
    assert updatable_mask(W, 2, 0.12).nonzero().tolist() == [[0, 0], [1, 0], [1, 2]]
    assert not updatable_mask(W, 2).any()
    assert updatable_mask(W, 2, 1.0).all()


def test_a_threshold_counts_though_no_weight_is_beyond_it():
    # s = 1 and the largest code is 0; the official annealing looks at thresholds between codes in use alone.
    weight = tensor([[0.499, -0.9, 0.1, -0.501]], dtype=torch.float64)
    assert stats_codes(weight, 2).tolist() == [[0, -2, 0, -2]]
    assert updatable_mask(weight, 2).tolist() == [[True, False, False, True]]


@given(matrices(), st.integers(2, 8), st.floats(1e-6, 1e6))
def test_check_3_a_multiple_has_the_same_codes(weight, bits, c):
    torch.testing.assert_close(stats_quantize(c * weight, bits), c * stats_quantize(weight, bits), rtol=1e-9, atol=0)
    assert torch.equal(stats_codes(c * weight, bits), stats_codes(weight, bits))


@given(matrices(), matrices())
def test_check_3_scales_are_lipschitz(weight, other):
    bound = 2 * (weight - other).abs().mean(1, keepdim=True)
    assert bool(((stats_scale(weight) - stats_scale(other)).abs() <= bound + 1e-12).all())


@given(matrices(), st.integers(2, 8))
def test_codes_levels_and_distances_belong_together(weight, bits):
    n, scale = 2 ** (bits - 1), stats_scale(weight)
    codes = stats_codes(weight, bits)
    assert codes.dtype == torch.int8
    assert -n <= int(codes.min())
    assert int(codes.max()) < n
    quantized = stats_quantize(weight, bits)
    torch.testing.assert_close(quantized, scale * (codes + 0.5) / n, rtol=1e-12, atol=0)
    inside = weight.abs() < scale * (1 - 1e-6)
    assert bool(((weight - quantized).abs() <= scale / (2 * n) * (1 + 1e-9))[inside].all())
    # The same distance by looking at every threshold.
    thresholds = torch.arange(-n + 1, n) * scale[..., None] / n
    clipped = torch.minimum(torch.maximum(weight, -scale), scale * (1 - 1e-6))
    nearest = (clipped[..., None] - thresholds).abs().amin(-1) / (scale / n)
    torch.testing.assert_close(confidence_distance(weight, bits), nearest, rtol=0, atol=1e-9)


def test_a_tie_goes_to_the_even_code():
    # s = 1: ±1/2 and 0 are the thresholds of two bits.
    weight = tensor([[0.5, -0.5, 0.0, 1.0]], dtype=torch.float64)
    assert stats_codes(weight, 2).tolist() == [[0, -2, 0, 1]]
    assert confidence_distance(weight, 2).tolist()[0][:3] == [0.0, 0.0, 0.0]


def test_a_row_of_zeros_gives_zeros_and_may_leave_them():
    weight = torch.stack([torch.zeros(6), torch.ones(6)]).requires_grad_()
    quantized = stats_quantize(weight, 2)
    assert quantized[0].tolist() == [0.0] * 6
    assert quantized[1].tolist() == [0.5] * 6
    assert stats_codes(weight, 2)[0].tolist() == [0] * 6
    assert confidence_distance(weight, 3)[0].tolist() == [0.0] * 6
    quantized.sum().backward()
    assert weight.grad.tolist() == [[1.0] * 6] * 2
    assert not stats_quantize(torch.zeros(2, 3), 4).any()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_half_precision_has_no_level_more(half, bits):
    weight = torch.randn(4, 50).to(half).requires_grad_()
    quantized = stats_quantize(weight, bits)
    assert quantized.dtype == half
    assert stats_scale(weight).dtype == torch.float32
    exact = stats_quantize(weight.detach().double(), bits)
    # Rounded once, of a scale that is a mean of 50 numbers in float32.
    torch.testing.assert_close(quantized.detach().double(), exact, rtol=torch.finfo(half).eps, atol=0)
    n = 2 ** (bits - 1)
    assert int(stats_codes(weight, bits).max()) == n - 1
    # The official clip is 1 in half precision, and half to even then rounds up to a code that b bits do not have.
    assert float((tensor(1.0 - 1e-6, dtype=half) * n - 0.5).round()) == n
    quantized.sum().backward()
    assert weight.grad.dtype == half
    assert bool((weight.grad == 1).all())


def test_scales_along_another_dimension():
    tokens = torch.randn(5, 3, 4, dtype=torch.float64)
    scale = stats_scale(tokens, dim=1)
    assert scale.shape == (1, 3, 1)
    torch.testing.assert_close(scale, 2 * tokens.abs().mean(-1, keepdim=True).mean(0, keepdim=True))
    for i in range(3):
        rows = stats_quantize(tokens[:, i].reshape(1, -1), 3)
        torch.testing.assert_close(stats_quantize(tokens, 3, dim=-2)[:, i].reshape(1, -1), rows)
    kernel = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(stats_quantize(kernel, 2).flatten(1), stats_quantize(kernel.flatten(1), 2))


def test_a_boundary_range_masks_the_gradient_and_nothing_else():
    weight = W.clone().requires_grad_()
    quantized = stats_quantize(weight, 2, boundary_range=0.12)
    assert torch.equal(quantized.detach(), stats_quantize(W, 2))
    quantized.sum().backward()
    assert torch.equal(weight.grad, updatable_mask(W, 2, 0.12).double())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_torch_s_own_fake_quantisation_gives_the_same(bits):
    n = 2 ** (bits - 1)
    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(bits)).requires_grad_()
    steps = stats_scale(weight).flatten() / n
    theirs = torch.fake_quantize_per_channel_affine(weight, steps, torch.full((5,), -0.5), 0, -n, n - 1)
    ours = stats_quantize(weight, bits)
    near = confidence_distance(weight, bits) < 1e-4
    torch.testing.assert_close(torch.where(near, 0, ours), torch.where(near, 0, theirs), rtol=1e-5, atol=0)
    (own,) = torch.autograd.grad(ours.sum(), weight)
    (peer,) = torch.autograd.grad(theirs.sum(), weight)
    clipped = weight.abs() > stats_scale(weight)
    assert bool((own == 1).all())
    assert bool((peer[clipped & (weight.abs() > stats_scale(weight) + steps[:, None])] == 0).all())
    assert bool((peer[~clipped] == 1).all())


CALLS = {
    "scale": stats_scale,
    "codes": lambda w: stats_codes(w, 2),
    "quantize": lambda w: stats_quantize(w, 2),
    "distance": lambda w: confidence_distance(w, 2),
    "mask": lambda w: updatable_mask(w, 2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (torch.ones(3), ValueError, r"\[out, in, ...\], not empty, got shape \[3\]"),
        (tensor(1.0), ValueError, r"got shape \[\]"),
        (torch.ones(0, 3), ValueError, r"got shape \[0, 3\]"),
        (torch.ones(3, 0), ValueError, r"got shape \[3, 0\]"),
        (tensor([[1.0, math.nan], [math.inf, 0.0]]), ValueError, "2 of 4 weights are NaN or inf"),
        (torch.full((1, 3), 3e38), ValueError, "sum overflows torch.float32"),
        (torch.ones(2, 2, device="meta"), ValueError, "meta device"),
        (torch.ones(2, 2, dtype=torch.int8), TypeError, "torch.int8; a weight that is quantised already"),
        (torch.ones(2, 2, dtype=torch.complex64), TypeError, "complex64"),
        (torch.ones(2, 2).to(torch.float8_e4m3fn), TypeError, "float8"),
        ([[1.0, 2.0]], TypeError, "got list"),
    ],
)
def test_what_is_no_weight_is_named(call, weight, error, message):
    with pytest.raises(error, match=message):
        call(weight)


@pytest.mark.parametrize("bits", [1, 9, 0, -2, 2.0, True, None])
def test_widths_that_are_none(bits):
    for call in (stats_codes, stats_quantize, confidence_distance, updatable_mask):
        with pytest.raises(ValueError, match="an integer from 2 to 8, got"):
            call(W, bits)


def test_other_arguments_that_are_none():
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and at least 0"):
            updatable_mask(W, 2, wrong)
        with pytest.raises(ValueError, match="finite and at least 0"):
            stats_quantize(W, 2, boundary_range=wrong)
    for dim in (2, -3, 0.0, True):
        with pytest.raises(ValueError, match="one of the 2 dimensions"):
            stats_scale(W, dim=dim)


def test_levels_that_float16_has_not_are_refused():
    weight = torch.tensor([[6e4, -6e4, 6e4, -6e4]], dtype=torch.float16)
    # s = 12e4, and the last level is -9e4 in two bits.
    with pytest.raises(
        ValueError, match=r"2 of 4 weights get levels up to 90000.*torch.float16 ends at 65504; rescale"
    ):
        stats_quantize(weight, 2)
    assert stats_quantize(weight.float(), 2).abs().max() == 9e4
    layer = torch.nn.Linear(4, 1).half()
    quantize_model(layer, 2)
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(weight)
    with pytest.raises(ValueError, match="StatsQuantizer: 2 of 4 weights"):
        layer(torch.ones(1, 4).half())
    with pytest.raises(ValueError, match="packed_state_dict: weight: pack_weight: 2 of 4"):
        packed_state_dict(layer)
    other = torch.nn.Linear(4, 1).half()
    other.weight = torch.nn.Parameter(weight)
    with pytest.raises(ValueError, match="quantize_model: weight: StatsQuantizer: 2 of 4 weights"):
        quantize_model(other, 2)
    learned = LearnedStepQuantizer(2, weight)
    with torch.no_grad():
        learned.step.fill_(4e4)
    with pytest.raises(ValueError, match="LearnedStepQuantizer: 2 of 4 weights"):
        learned(weight)
    assert stats_quantize(weight / 2, 2).isfinite().all()


def test_a_packed_weight_that_float16_has_not_is_refused():
    packed = pack_weight(torch.full((1, 4), -6e4), StatsQuantizer(2))
    assert packed.unpack().isfinite().all()
    with pytest.raises(ValueError, match="PackedWeight: 4 of 4 weights get levels"):
        dataclasses.replace(packed, dtype=torch.float16).unpack()
    with pytest.raises(ValueError, match="pack_weight: 4 of 4 weights get levels"):
        pack_weight(torch.full((1, 4), -6e4, dtype=torch.float16), StatsQuantizer(2))


def test_a_weight_on_the_edge_of_the_band_moves():
    # s = 4, so that every place is an integer, half a step from its thresholds.
    weight = torch.tensor([[1.0, -3.0, 1.0, 3.0]])
    assert updatable_mask(weight, 2, 0.5).all()
    quantizer = StatsQuantizer(2)
    quantizer.boundary_range = 0.5
    for quantize in (lambda w: stats_quantize(w, 2, boundary_range=0.5), quantizer):
        moved = weight.clone().requires_grad_()
        quantize(moved).sum().backward()
        assert moved.grad.tolist() == [[1.0] * 4]
