"""QuantLRM: rounding by groups, and layers that hold packed codes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entrokit.compression.quantlrm import PackedLinear, quantize_groups, search_clip

from ..rounding import assert_within, bound

ROW = torch.tensor([[-1, -0.2, 0.05, 0.3, 0.9, 0, -0.6, 0.45]], dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def weight(rows=6, columns=32, seed=0, dtype=torch.float32):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TestCheck4:
    def test_three_bits_one_group(self):
        expected = tensor([-1.085714, -0.271429, 0, 0.271429, 0.814286, 0, -0.542857, 0.542857])
        assert_within(quantize_groups(ROW, 3, 8).dequantize(), expected, 5e-7)
        assert_within(quantize_groups(ROW, 3, None).dequantize(), expected, 5e-7)

    def test_two_bits_groups_of_four(self):
        found = quantize_groups(ROW, 2, 4)
        assert_within(found.dequantize(), tensor([-0.866667, 0, 0, 0.433333, 1, 0, -0.5, 0.5]), 5e-7)
        assert found.scale.shape == found.zero.shape == (1, 2)
        assert found.codes.dtype == found.zero.dtype == torch.uint8


class TestRounding:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(2, 8), st.integers(0, 1000), st.sampled_from([1, 2, 4, 8]), st.floats(-3.0, 3.0))
    def test_every_weight_is_within_half_a_step(self, bits, seed, group, shift):
        w = weight(3, 8, seed, torch.float64) + shift
        found = quantize_groups(w, bits, group)
        step = found.scale.repeat_interleave(group, 1)
        # Rounding the zero point moves the range by up to half a step, and what is then cut off is off by that more.
        assert ((found.dequantize() - w).abs() <= step * (1 + 1e-9)).all()
        inside = (found.codes > 0) & (found.codes < 2**bits - 1)
        assert ((found.dequantize() - w).abs() <= step * (0.5 + 1e-9))[inside].all()
        assert int(found.codes.max()) < 2**bits

    def test_zero_stays_zero(self):
        w = weight()
        w[:, ::3] = 0.0
        assert torch.equal(quantize_groups(w, 3, 8).dequantize()[:, ::3], torch.zeros_like(w[:, ::3]))

    def test_a_matrix_of_zeros(self):
        found = quantize_groups(torch.zeros(2, 8), 3, 4)
        assert torch.equal(found.dequantize(), torch.zeros(2, 8))
        assert found.scale.gt(0).all()

    def test_a_common_factor_of_a_row_does_not_matter(self):
        w, factor = weight(dtype=torch.float64), 2.0 ** torch.arange(-3, 3)[:, None].double()
        assert torch.equal(quantize_groups(w * factor, 3, 8).codes, quantize_groups(w, 3, 8).codes)

    def test_a_group_of_one_sign(self):
        w = torch.linspace(1.1, 2.0, 16, dtype=torch.float64)[None]
        cut = quantize_groups(w, 4, 16, include_zero=False).dequantize()
        assert_within(cut, torch.full_like(w, 0.9), 1e-9)
        found = quantize_groups(w, 4, 16)
        assert ((found.dequantize() - w).abs() <= found.scale / 2 + 1e-9).all()
        assert ((quantize_groups(-w, 4, 16).dequantize() + w).abs() <= found.scale / 2 + 1e-9).all()

    def test_groups_that_straddle_zero_are_the_released_quantiser_s(self):
        w = weight()
        for bits in (3, 4):
            one, other = (quantize_groups(w, bits, 16, include_zero=flag) for flag in (True, False))
            assert torch.equal(one.codes, other.codes)
            assert torch.equal(one.scale, other.scale)

    def test_tiny_weights_are_not_all_rounded_away(self):
        w = 1e-7 * weight(dtype=torch.float64)
        found = quantize_groups(w, 4, 16)
        assert_within(found.scale, 1e-7 * quantize_groups(weight(dtype=torch.float64), 4, 16).scale, 1e-15)
        assert quantize_groups(w, 4, 16, include_zero=False).dequantize().count_nonzero() == 0, "as released"

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_rounded_in_float32(self, dtype):
        w = weight().to(dtype)
        one, other = quantize_groups(w, 3, 16), quantize_groups(w.float(), 3, 16)
        assert one.scale.dtype == torch.float32
        assert torch.equal(one.dequantize(), other.dequantize())

    def test_limits_cut_first(self):
        w = weight(dtype=torch.float64)
        limit = torch.full((6, 2), 0.5, dtype=torch.float64)
        one, other = quantize_groups(w, 3, 16, limit=limit), quantize_groups(w.clamp(-0.5, 0.5), 3, 16)
        assert torch.equal(one.codes, other.codes)

    def test_what_is_infinite_is_not_cut_away_unseen(self):
        w = weight()
        w[1, 2] = math.inf
        with pytest.raises(ValueError, match="1 of 192 weights are NaN or infinite"):
            quantize_groups(w, 3, 16, limit=torch.ones(6, 2))

    @pytest.mark.parametrize(
        ("w", "bits", "group", "error", "message"),
        [
            (weight(), 1, 16, ValueError, "from 2 to 8, got 1"),
            (weight(), 9, 16, ValueError, "from 2 to 8, got 9"),
            (weight(), 3.0, 16, ValueError, "from 2 to 8, got 3.0"),
            (weight(), True, 16, ValueError, "from 2 to 8, got True"),
            (weight(2, 576), 3, 128, ValueError, "576 .* no multiple of group_size 128; 64, 96, 144 or None"),
            (weight(), 3, 0, ValueError, "group_size is a positive integer"),
            (weight() / 0.0, 3, 16, ValueError, "192 of 192 weights are NaN or infinite"),
            (torch.tensor([[1.0, math.nan]]), 3, 2, ValueError, "1 of 2 weights"),
            (torch.ones(4), 3, 4, ValueError, r"\[out, in\], got \[4\]"),
            (torch.ones(0, 4), 3, 4, ValueError, r"got \[0, 4\]"),
            (torch.ones(2, 2, dtype=torch.int8), 3, 2, TypeError, "torch.int8"),
            (torch.tensor([[3e38, -3e38]]), 3, 2, ValueError, "range of a group is too large"),
        ],
    )
    def test_bad_input_is_named(self, w, bits, group, error, message):
        with pytest.raises(error, match=message):
            quantize_groups(w, bits, group)

    def test_torchao_rounds_the_same(self):
        primitives = pytest.importorskip("torchao.quantization.quant_primitives")
        for bits in (3, 4):
            w = weight(32, 64, seed=bits)
            w[0] = w[0].abs()
            block, most = (1, 16), 2**bits - 1
            scale, zero = primitives.choose_qparams_affine(
                w, primitives.MappingType.ASYMMETRIC, block, torch.uint8, 0, most, eps=1e-12
            )
            codes = primitives.quantize_affine(w, block, scale, zero, torch.uint8, 0, most)
            found = quantize_groups(w, bits, 16)
            assert torch.equal(found.zero.double(), zero.view(32, 4).double())
            assert_within(found.scale, scale.view(32, 4), bound(float(scale.max()), 2))
            # It multiplies by 1/δ where we divide, so that a tie may fall to the other side.
            steps = (w / found.scale.repeat_interleave(16, 1)).double()
            tie = ((steps - steps.floor()) - 0.5).abs() < 1e-5
            assert torch.equal(found.codes[~tie], codes[~tie])


class TestPackedLinear:
    @pytest.mark.parametrize("bits", [3, 4])
    @pytest.mark.parametrize("bias", [False, True])
    def test_it_gives_what_its_codes_stand_for(self, bits, bias):
        linear = nn.Linear(24, 5, bias=bias)
        codes = quantize_groups(linear.weight, bits, 8)
        packed = PackedLinear(codes, linear.bias)
        x = torch.randn(2, 3, 24)
        assert torch.equal(packed.dequantize(), codes.dequantize())
        assert torch.equal(packed(x), nn.functional.linear(x, codes.dequantize(), linear.bias))
        assert packed.packed.shape == (5, 3 * bits)
        assert packed.bits_per_weight == bits + 8 * 5 / 8

    def test_it_is_saved_loaded_and_described(self):
        torch.manual_seed(0)
        one, other = (PackedLinear(quantize_groups(torch.randn(4, 10), 3, 5)) for _ in range(2))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one.dequantize(), other.dequantize())
        assert "in_features=10, out_features=4, bits=3, group_size=5, bias=False" in repr(one)

    def test_half_precision_leaves_the_weight_alone(self):
        linear = nn.Linear(16, 4)
        packed = PackedLinear(quantize_groups(linear.weight, 4, 8), linear.bias)
        before = packed.dequantize()
        packed.half()
        assert torch.equal(packed.dequantize(), before)
        assert packed.bias.dtype == torch.float16
        assert packed(torch.randn(1, 16, dtype=torch.float16)).dtype == torch.float16


class TestClip:
    def brute(self, w, x, bits, group):
        """By the outputs of every group of every row themselves."""
        limit = w.unflatten(1, (-1, group)).abs().amax(2)
        for row in range(len(w)):
            for g in range(limit.shape[1]):
                part, inputs = w[row : row + 1, g * group : (g + 1) * group], x[:, g * group : (g + 1) * group]
                largest, errors = float(part.abs().max()), []
                for step in range(10):
                    cut = largest * (1 - step / 20)
                    off = quantize_groups(part.clamp(-cut, cut), bits, group).dequantize() - part
                    errors.append(float((inputs @ off.T).square().mean()))
                best = min(range(10), key=errors.__getitem__)
                limit[row, g] = largest * (1 - best / 20)
        return limit

    def test_it_is_the_best_cut_of_every_group(self):
        w, x = weight(5, 16, 1, torch.float64), weight(20, 16, 2, torch.float64)
        found = search_clip(w, x, 3, 8)
        assert_within(found, self.brute(w, x, 3, 8), 1e-9)
        assert (found < w.unflatten(1, (-1, 8)).abs().amax(2)).any()

    def test_it_is_never_worse_than_no_cut(self):
        for seed in range(5):
            w, x = weight(8, 16, seed, torch.float64), weight(30, 16, seed + 50, torch.float64)
            x[:, 3] *= 20.0
            clipped = quantize_groups(w, 2, None, limit=search_clip(w, x, 2, None)).dequantize()
            errors = [((x @ (q - w).T).square()).mean(0) for q in (clipped, quantize_groups(w, 2, None).dequantize())]
            assert (errors[0] <= errors[1] * (1 + 1e-9)).all()

    def test_where_every_cut_costs_the_same_none_is_made(self):
        w = weight(2, 8)
        found = search_clip(w, torch.zeros(3, 8), 3, 4)
        assert torch.equal(found, w.unflatten(1, (-1, 4)).abs().amax(2))
        assert torch.equal(search_clip(torch.zeros(2, 8), torch.ones(3, 8), 3, 4), torch.zeros(2, 2))

    def test_bad_input_is_named(self):
        w, x = weight(2, 8), torch.ones(3, 8)
        for wrong, message in (
            ({"x": torch.ones(3, 4)}, r"\[tokens, 8\]"),
            ({"x": torch.ones(0, 8)}, "at least one token"),
            ({"x": x * math.nan}, "an input is NaN"),
            ({"bits": 9}, "from 2 to 8"),
            ({"group_size": 3}, "no multiple"),
            ({"n_grid": 0}, "n_grid is a positive integer"),
            ({"max_shrink": 0.0}, "max_shrink 0 to 1"),
            ({"weight": w * math.nan}, "16 of 16 weights"),
        ):
            with pytest.raises(ValueError, match=message):
                search_clip(**{"weight": w, "x": x, "bits": 3, "group_size": 4, **wrong})
