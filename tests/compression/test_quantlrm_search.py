"""QuantLRM: how far channels are scaled, and scales that cost nothing when the model runs."""

import copy
import math

import pytest
import torch
from torch import nn

from entrokit.compression.quantlrm import Call, fold_scale, quantize_groups, search_channel_scale
from entrokit.papers.compression._character_lm import Block, Norm

from ..rounding import assert_within

W = [[0.8, -0.05, 0.3, 0.02], [-0.6, 0.04, 0.9, -0.01], [0.1, 0.07, -0.4, 0.03]]
X = [[1, 8, -0.5, 10], [-0.5, -6, 1, 12], [0.3, 7, 0.2, -9], [0.9, -9, 0.4, 8]]
IMPORTANCE = torch.tensor([3, 60, 2, 80], dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def linear_of(weight, dtype=torch.float64):
    weight = torch.as_tensor(weight, dtype=dtype)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
    return linear


def five(importance=IMPORTANCE, **options):
    linear = linear_of(W)
    return search_channel_scale(linear, [linear], tensor(*X), importance, 3, None, **options)


class TestCheck5:
    def test_errors_and_scale(self):
        found = five()
        assert_within(tensor(*found.history[:3]), tensor(0.163480, 0.163845, 0.095875), 5e-7)
        assert found.alpha == 0.85
        assert min(found.history) == pytest.approx(0.003631, abs=5e-7)
        assert_within(found.scale, tensor(2.544211, 32.465983, 1.802501, 41.459732), 5e-7)

    def test_importance_that_is_the_same_everywhere_says_nothing(self):
        found = five(torch.ones(4, dtype=torch.float64))
        assert (found.alpha, found.scale.tolist()) == (0.0, [1.0] * 4)
        assert found.history == pytest.approx([0.163480] * 20, abs=5e-7)

    def test_alpha_1_is_not_tried(self):
        assert len(five().history) == 20
        assert five(n_grid=1).history == [five().history[0]]
        assert five(n_grid=1).alpha == 0.0


class TestSearch:
    def test_it_is_never_worse_than_plain_rounding(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(10):
            linear = linear_of(torch.randn(4, 8, generator=generator))
            x = torch.randn(6, 8, generator=generator, dtype=torch.float64)
            importance = torch.rand(8, generator=generator, dtype=torch.float64) * 50
            found = search_channel_scale(linear, [linear], x, importance, 3, 4)
            rounded = quantize_groups(linear.weight * found.scale, 3, 4).dequantize() / found.scale
            error = (x @ (rounded - linear.weight).T).square().mean()
            assert error.item() == pytest.approx(min(found.history), rel=1e-9)
            assert min(found.history) <= found.history[0]

    def test_weights_stay_and_so_does_a_channel_of_no_importance(self):
        weight = tensor(*W)
        weight[:, 0] = 0.0
        linear = linear_of(weight)
        found = search_channel_scale(linear, [linear], tensor(*X), tensor(0, 60, 2, 80), 3, None)
        assert torch.equal(linear.weight, weight)
        assert found.scale[0] == 1e-4
        assert found.alpha > 0

    def test_a_matrix_of_zeros_is_rounded_plainly(self):
        linear = linear_of(torch.zeros(3, 4))
        found = search_channel_scale(linear, [linear], tensor(*X), IMPORTANCE, 3, 2)
        assert found.alpha == 0.0
        assert found.history == [0.0] * 20

    def test_the_output_of_a_module_counts_and_only_tokens_that_are_none_of_padding(self):
        torch.manual_seed(0)
        gate, up = (nn.Linear(4, 6, bias=False, dtype=torch.float64) for _ in range(2))

        class Product(nn.Module):
            def __init__(self):
                super().__init__()
                self.gate, self.up = gate, up

            def forward(self, x, factor=1.0):
                return self.gate(x) * self.up(x) * factor, None

        x = torch.randn(2, 3, 4, dtype=torch.float64)
        keep = torch.tensor([[True, True, False], [True, True, True]])
        call = Call((x,), {"factor": 2.0}, keep)
        found = search_channel_scale(Product(), [gate, up], [call], IMPORTANCE, 3, 2)
        step = found.history.index(min(found.history))
        scale = IMPORTANCE ** (step / 20)
        q = [quantize_groups(m.weight * scale, 3, 2).dequantize() / scale for m in (gate, up)]
        rows = x[keep]
        off = 2 * (rows @ q[0].T) * (rows @ q[1].T) - 2 * gate(rows) * up(rows)
        assert off.square().mean().item() == pytest.approx(min(found.history), rel=1e-9)

    def test_half_precision_is_compared_in_float32(self):
        linear = linear_of(W, torch.bfloat16)
        x = torch.tensor(X, dtype=torch.bfloat16)
        found = search_channel_scale(linear, [linear], x, IMPORTANCE.float(), 3, None)
        assert found.scale.dtype == torch.float32
        assert all(math.isfinite(error) for error in found.history)
        assert 0.0 < min(found.history) < found.history[0]

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"importance": torch.ones(3)}, r"shape \[3\], and there are 4 channels"),
            ({"importance": tensor(1, 1, 1, math.inf)}, "1 of 4 channels have another"),
            ({"importance": tensor(1, 1, 1, math.nan)}, "1 of 4 channels"),
            ({"importance": tensor(1, 1, -1, -1)}, "2 of 4 channels"),
            ({"bits": 1}, "from 2 to 8, got 1"),
            ({"group_size": 3}, "4 input channels are no multiple of group_size 3"),
            ({"n_grid": 0}, "n_grid is a positive integer"),
            ({"x": []}, "no calibration inputs"),
            ({"x": tensor(*X) * math.nan}, "the error at alpha = 0 is nan"),
            ({"linears": []}, "no linear layers"),
            ({"linears": [nn.Linear(4, 2)]}, "not part of the module"),
        ],
    )
    def test_bad_input_is_named(self, wrong, message):
        linear = linear_of(W)
        given = {"linears": [linear], "x": tensor(*X), "importance": IMPORTANCE, "bits": 3, "group_size": None, **wrong}
        with pytest.raises(ValueError, match=message):
            search_channel_scale(linear, **given)

    def test_nan_weights_and_layers_of_different_inputs(self):
        broken = linear_of([[1.0, math.nan]])
        with pytest.raises(ValueError, match="1 of 2 weights are NaN"):
            search_channel_scale(broken, [broken], torch.ones(1, 2, dtype=torch.float64), torch.ones(2), 3, 2)
        both = nn.ModuleList([nn.Linear(4, 2), nn.Linear(6, 2)])
        with pytest.raises(ValueError, match="have 4 and 6 channels"):
            search_channel_scale(both, list(both), torch.ones(1, 4), torch.ones(4), 3, None)


def double_block(kv_heads=2, bias=True):
    torch.manual_seed(0)
    block = Block(8, 2, kv_heads, bias).double()
    with torch.no_grad():
        for norm in (block.input_layernorm, block.post_attention_layernorm):
            norm.weight.uniform_(0.5, 2.0)
    return block


class TestCheck6:
    """Without rounding, scales change nothing."""

    x = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scale = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 30 + 0.1

    @pytest.mark.parametrize(
        ("before", "layers", "size"),
        [
            ("input_layernorm", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], 1),
            ("self_attn.v_proj", ["self_attn.o_proj"], 1),
            ("post_attention_layernorm", ["mlp.gate_proj", "mlp.up_proj"], 1),
            ("mlp.up_proj", ["mlp.down_proj"], 2),
        ],
    )
    def test_every_place(self, before, layers, size):
        block = double_block()
        exact, kept = block(self.x), copy.deepcopy(block.state_dict())
        fold_scale(block.get_submodule(before), [block.get_submodule(n) for n in layers], self.scale.repeat(size))
        assert_within(block(self.x), exact, 1e-9)
        assert not torch.equal(block.get_submodule(layers[0]).weight, kept[f"{layers[0]}.weight"])

    def test_query_heads_that_share_have_one_scale(self):
        block = double_block(kv_heads=1)
        v, o = block.self_attn.v_proj, block.self_attn.o_proj
        exact = block(self.x)
        fold_scale(v, [o], self.scale[:4].repeat(2), head_dim=4)
        assert_within(block(self.x), exact, 1e-9)
        before = copy.deepcopy(block.state_dict())
        for wrong, head_dim, message in (
            (self.scale, 4, "2 query heads share each head of values"),
            (self.scale, None, "4 channels come before a layer that takes 8"),
            (self.scale, 3, "cannot be folded"),
        ):
            with pytest.raises(ValueError, match=message):
                fold_scale(v, [o], wrong, head_dim=head_dim)
        assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())

    def test_a_norm_with_a_bias(self):
        norm, linear = nn.LayerNorm(8, dtype=torch.float64), nn.Linear(8, 3, dtype=torch.float64)
        with torch.no_grad():
            norm.bias.uniform_()
        exact = linear(norm(self.x))
        fold_scale(norm, [linear], self.scale)
        assert_within(linear(norm(self.x)), exact, 1e-9)

    def test_what_cannot_be_folded_is_said(self):
        linear = nn.Linear(8, 3)
        for before, scale, message in (
            (nn.LayerNorm(8, elementwise_affine=False), torch.ones(8), "a LayerNorm without weight"),
            (Norm(8), torch.ones(7), r"\[7\] scales, and a layer with 8"),
            (Norm(8), torch.zeros(8), "finite and above 0"),
            (Norm(8), torch.full((8,), math.nan), "finite and above 0"),
        ):
            with pytest.raises(ValueError, match=message):
                fold_scale(before, [linear], scale)
