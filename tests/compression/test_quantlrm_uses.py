"""QuantLRM in odd company: frozen, parametrised and half-loaded models, attention of torch's, caches, packed states."""

import copy
import math

import pytest
import torch
from torch import nn

from entrokit.compression.quantlrm import (
    PackedLinear,
    QuantLRM,
    ScaleGroup,
    channel_importance,
    pseudo_fine_tune,
    quantize_groups,
    round_to_nearest,
    search_channel_scale,
    search_clip,
    update_stats,
)
from entrokit.compression.quantlrm.block import _is_query_or_key
from entrokit.papers.compression._character_lm import next_character_loss

from .fine_tuned import pair, same, state, text

HOW = QuantLRM(3, 8, n_grid=2)


def parametrised(model):
    nn.utils.parametrizations.weight_norm(model.layers[1].mlp.down_proj)


def norm_on_meta(model):
    model.layers[1].input_layernorm.to("meta")


def embedding_on_meta(model):
    model.embed_tokens.to("meta")


def buffer_on_meta(model):
    model.layers[0].register_buffer("angles", torch.ones(3, device="meta"))


def of_another_kind(model):
    block, forward = model.layers[1], model.layers[1].forward
    block.forward = lambda hidden_states: {"hidden": forward(hidden_states)}


def beyond_half(model):
    model.half()
    # delta is 77000 / 3, and the code of 65000 stands for all three.
    model.layers[1].mlp.down_proj.weight.data[0, :8] = torch.tensor([65000.0, -12000.0, *[0.0] * 6])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (parametrised, "layers.1.mlp.down_proj.weight: is computed .*remove it first"),
        (norm_on_meta, "layers.1.input_layernorm.weight: is on the meta device"),
        (embedding_on_meta, "embed_tokens.weight: is on the meta device"),
        (buffer_on_meta, "layers.0.angles: is on the meta device"),
        (of_another_kind, "layers.1: gives a dict, and hidden states are expected"),
        (beyond_half, r"layers.1: mlp.down_proj: .*error at alpha = 0 is inf; .*overflows in its dtype"),
    ],
)
def test_an_error_in_a_later_layer_leaves_all_as_it_was(spoil, message):
    _, model = pair()
    spoil(model)
    model.train()
    model.layers[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items() if not value.is_meta}
    with pytest.raises(ValueError, match=message):
        QuantLRM(2, 8, n_grid=1, clip=False).quantize(model, None, [text()], importance="activations")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert model.training
    assert not model.layers[0].training
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules() if not isinstance(m, nn.Identity))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (parametrised, "layers.1.mlp.down_proj.weight: is computed"),
        (norm_on_meta, "is on the meta device"),
        (beyond_half, r"layers.1.mlp.down_proj: weights are rounded to more than torch.float16 has"),
    ],
)
def test_plain_rounding_too(spoil, message):
    _, model = pair()
    spoil(model)
    before = {name: value.clone() for name, value in model.state_dict().items() if not value.is_meta}
    with pytest.raises(ValueError, match=message):
        round_to_nearest(model, 2, 8)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_quantised_twice_is_said():
    _, model = pair()
    round_to_nearest(model, 3, 8, pack=True)
    with pytest.raises(ValueError, match="it has PackedLinear, and is quantised already"):
        round_to_nearest(model, 3, 8)


class TestAttentionOfTorch:
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.fc = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)

        def forward(self, x):
            return x + self.fc(self.attn(x, x, x)[0])

    def model(self):
        embed, blocks = nn.Embedding(128, 8), nn.ModuleList([self.Block()])
        model = nn.ModuleDict({"embed": embed, "blocks": blocks})
        model.forward = lambda ids: blocks[0](embed(ids))
        return model

    def test_what_it_reads_itself_is_not_packed(self):
        model = self.model()
        before = state(model)
        for quantise in (
            lambda: round_to_nearest(model, 3, 8, pack=True),
            lambda: QuantLRM(3, 8, pack=True).quantize(model, None, [text()], importance="activations"),
        ):
            with pytest.raises(ValueError, match=r"blocks.0.attn.out_proj: its MultiheadAttention reads .*pack=False"):
                quantise()
        assert same(model, before)

    def test_what_stays_in_float_is_said(self):
        model = self.model()
        with pytest.warns(UserWarning, match="blocks.0 has attn.out_proj, fc"):
            report = HOW.quantize(model, None, [text()], importance="activations")
        assert report.skipped == (
            "blocks.0: attn.out_proj, fc: not scaled, in no group",
            "blocks.0: attn.in_proj_weight: not quantised, of no linear layer",
        )
        assert model(text()).isfinite().all()


@pytest.mark.parametrize(
    "name", ["q_proj", "k_proj", "query", "key", "query_key_value", "Wqkv", "qkv_proj", "k", "c_attn"]
)
def test_queries_and_keys_by_other_names_are_not_cut(name):
    assert _is_query_or_key(f"self_attn.{name}")


@pytest.mark.parametrize(
    "name", ["v_proj", "o_proj", "value", "gate_up_proj", "down_proj", "fc1", "quiet", "kernel", "v"]
)
def test_what_is_neither_is(name):
    assert not _is_query_or_key(f"query_block.{name}")


class TestFrozen:
    def test_a_frozen_model_stays_frozen_when_it_is_packed(self):
        base, model = pair(bias=True)
        model.requires_grad_(False)
        model.layers[0].self_attn.k_proj.bias.requires_grad_(True)
        QuantLRM(3, 8, n_grid=1, pack=True).quantize(model, base.state_dict(), [text()])
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        assert trained == ["layers.0.self_attn.k_proj.bias"]

    def test_pseudo_fine_tuning_of_it_is_refused(self):
        _, model = pair()
        model.requires_grad_(False)
        with pytest.raises(ValueError, match=r"no weight of a linear layer requires gradients.*requires_grad_\(True\)"):
            pseudo_fine_tune(model, [text()], loss=lambda m, b: next_character_loss(m, b["input_ids"]))


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ({"past_key_values": object()}, ValueError, r"calib_batches\[0\]: past_key_values would grow"),
        ({"attention_mask": [[1] * 10] * 2}, TypeError, r"attention_mask is a tensor \[batch, positions\], got list"),
        ({"attention_mask": torch.ones(2, 1, 10, 10)}, ValueError, "attention_mask .* differ"),
    ],
)
def test_batches_that_would_be_misread(batch, error, message):
    _, model = pair()
    before = state(model)
    with pytest.raises(error, match=message):
        HOW.quantize(model, None, [{"input_ids": text(), **batch}], importance="activations")
    with pytest.raises(TypeError, match=r"calib_batches\[1\]: a batch is a tensor of token ids .* got str"):
        HOW.quantize(model, None, [text(), "text"], importance="activations")
    assert same(model, before)


def test_importances_that_are_no_tensors():
    _, model = pair()
    with pytest.raises(ValueError, match=r"q_proj.weight: importance is a tensor \[16\], got list"):
        HOW.quantize(model, None, [text()], importance={"layers.0.self_attn.q_proj.weight": [1.0] * 16})


def test_matrices_of_zeros():
    base, model = pair()
    for name in ("self_attn.v_proj", "mlp.up_proj", "mlp.gate_proj"):
        nn.init.zeros_(model.layers[0].get_submodule(name).weight)
    report = HOW.quantize(model, base.state_dict(), [text()])
    assert model(text()).isfinite().all()
    for name in ("self_attn.v_proj", "mlp.up_proj", "mlp.gate_proj"):
        assert not model.layers[0].get_submodule(name).weight.any()
    assert all(math.isfinite(group.error) for group in report.groups)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *[
            (lambda name=name: QuantLRM(**{name: 1}), f"QuantLRM.{name} is True or False, got 1")
            for name in ("zero_in_mean", "include_zero", "clip", "official_compat", "pack")
        ],
        (lambda: QuantLRM(group_size=0), "QuantLRM.group_size is an integer of at least 1, got 0"),
        (lambda: QuantLRM(group_size=64.0), "QuantLRM.group_size is an integer of at least 1, got 64.0"),
        (lambda: QuantLRM(n_grid=2.0), "QuantLRM.n_grid is an integer of at least 1, got 2.0"),
        (lambda: QuantLRM(peak="10"), "QuantLRM.peak is a finite number, got '10'"),
        (lambda: QuantLRM(peak=True), "QuantLRM.peak is a finite number, got True"),
        (lambda: round_to_nearest(pair()[1], 3, 8, pack="no"), "round_to_nearest: pack is True or False, got 'no'"),
        (lambda: round_to_nearest(pair()[1], 3, 8, include_zero=0), "round_to_nearest: include_zero is True or"),
        (lambda: quantize_groups(torch.ones(2, 8), 3, 8, include_zero=1), "quantize_groups: include_zero is True or"),
        (lambda: search_clip(torch.ones(2, 8), torch.ones(1, 8), 3, 8, include_zero=1), "search_clip: include_zero is"),
        (
            lambda: search_clip(torch.ones(2, 8), torch.ones(1, 8), 3, 8, max_shrink="1"),
            "max_shrink is a finite number",
        ),
        (
            lambda: search_channel_scale(
                layer := nn.Linear(8, 2), [layer], torch.ones(1, 8), torch.ones(8), 3, 8, include_zero="yes"
            ),
            "search_channel_scale: include_zero is True or False, got 'yes'",
        ),
        (
            lambda: channel_importance(torch.ones(2, 2), update_stats([torch.ones(2, 2)]), zero_in_mean=0),
            "channel_importance: zero_in_mean is True or False",
        ),
        (lambda: update_stats([torch.ones(2)], official_compat=1), "update_stats: official_compat is True or False"),
        (lambda: ScaleGroup(("o",), "v", head_dim=4.0), "ScaleGroup.head_dim is an integer of at least 1, got 4.0"),
        (lambda: pseudo_fine_tune(pair()[1], [text()], learning_rate="1"), "learning_rate is a finite number, got '1'"),
    ],
)
def test_what_only_looks_like_a_count_or_a_flag(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class TestSaved:
    def packed(self):
        base, model = pair(bias=True)
        QuantLRM(3, 8, n_grid=2, pack=True).quantize(model, base.state_dict(), [text()])
        return model

    def test_a_packed_model_is_loaded_into_one_that_was_packed_alike(self, tmp_path):
        safe = pytest.importorskip("safetensors.torch")
        model = self.packed()
        torch.save(model.state_dict(), tmp_path / "model.pt")
        safe.save_file(model.state_dict(), tmp_path / "model.safetensors")
        for found in (torch.load(tmp_path / "model.pt"), safe.load_file(tmp_path / "model.safetensors")):
            fresh = pair(1, bias=True)[1]
            round_to_nearest(fresh, 3, 8, pack=True)
            fresh.load_state_dict(found)
            assert torch.equal(fresh(text()), model(text()))

    @pytest.mark.parametrize(("bits", "group_size"), [(4, 8), (2, 8), (3, 16), (3, None)])
    def test_one_that_was_packed_otherwise_is_refused(self, bits, group_size):
        fresh = pair(1, bias=True)[1]
        round_to_nearest(fresh, bits, group_size, pack=True)
        here = f"{bits} bits in groups of {group_size or 16}"
        message = f"layers.0.self_attn.q_proj: the state is of 3 bits in groups of 8, and this is of {here}; pack"
        with pytest.raises(RuntimeError, match=message):
            fresh.load_state_dict(self.packed().state_dict())

    def test_a_copy_is_one(self):
        model = self.packed()
        again = copy.deepcopy(model)
        assert torch.equal(again(text()), model(text()))
        assert again.layers[0].mlp.up_proj.packed is not model.layers[0].mlp.up_proj.packed

    def test_half_precision_leaves_the_scales(self):
        model = self.packed()
        layer = model.layers[0].mlp.up_proj
        weight = layer.dequantize()
        model.half()
        assert isinstance(layer, PackedLinear)
        assert layer.scale.dtype == torch.float32
        assert torch.equal(layer.dequantize(), weight)
