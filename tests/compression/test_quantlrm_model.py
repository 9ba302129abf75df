"""QuantLRM: whole models, quantised block by block, and left as they were where something is wrong."""

import copy
import math

import pytest
import torch
from torch.nn.functional import silu

from entrokit.compression.quantlrm import (
    PackedLinear,
    QuantLRM,
    pseudo_fine_tune,
    quantize_groups,
    round_to_nearest,
    search_clip,
    update_importances,
)
from entrokit.papers.compression._character_lm import CharacterLM, next_character_loss

from ..rounding import assert_within
from .fine_tuned import pair, same, state, text

HOW = QuantLRM(3, 8, n_grid=4)


class TestQuantising:
    def test_weights_are_what_their_codes_stand_for_and_the_rest_stays(self):
        base, tuned = pair()
        before, packed = state(tuned), copy.deepcopy(tuned)
        report = HOW.quantize(tuned, base.state_dict(), [text()])
        QuantLRM(3, 8, n_grid=4, pack=True).quantize(packed, base.state_dict(), [text()])
        layers = {name: m for name, m in packed.named_modules() if isinstance(m, PackedLinear)}
        assert len(layers) == 14
        for name, layer in layers.items():
            assert torch.equal(layer.dequantize(), tuned.get_submodule(name).weight)
            assert not torch.equal(tuned.get_submodule(name).weight, before[f"{name}.weight"])
        for kept in ("embed_tokens.weight", "positions.weight", "norm.weight", "lm_head.weight"):
            assert torch.equal(tuned.state_dict()[kept], before[kept])
        assert_within(packed(text()), tuned(text()), 1e-5)
        assert report.tokens == 20
        assert report.bits_per_weight == pytest.approx(3 + 40 / 8)
        assert report.skipped == ()
        assert report.stats.x_max == max(
            float((p - before_p).abs().max())
            for (name, p), before_p in zip(before.items(), base.state_dict().values(), strict=True)
            if "_proj" in name
        )

    def test_every_group_of_every_block_is_searched_and_never_worse_than_plain(self):
        base, tuned = pair()
        report = HOW.quantize(tuned, base.state_dict(), [text()])
        assert [group.linears for group in report.groups[:4]] == [
            tuple(f"layers.0.self_attn.{n}_proj" for n in "qkv"),
            ("layers.0.self_attn.o_proj",),
            ("layers.0.mlp.gate_proj", "layers.0.mlp.up_proj"),
            ("layers.0.mlp.down_proj",),
        ]
        assert len(report.groups) == 8
        for group in report.groups:
            assert group.error == min(group.history) <= group.plain_error == group.history[0]
            assert len(group.history) == 4
            assert group.history[round(4 * group.alpha)] == group.error

    def test_layers_before_a_scale_are_divided_by_it(self):
        base, tuned = pair()
        before = state(tuned)
        report = QuantLRM(8, None, n_grid=4, clip=False).quantize(tuned, base.state_dict(), [text()])
        scales = {group.linears[0]: group.scale for group in report.groups}
        assert any(group.alpha > 0 for group in report.groups)
        for block in ("layers.0", "layers.1"):
            norm = before[f"{block}.input_layernorm.weight"] / scales[f"{block}.self_attn.q_proj"]
            assert torch.equal(tuned.get_parameter(f"{block}.input_layernorm.weight"), norm)
            up = before[f"{block}.mlp.up_proj.weight"] * scales[f"{block}.mlp.gate_proj"]
            up = up / scales[f"{block}.mlp.down_proj"][:, None]
            exact = quantize_groups(up, 8, None).dequantize()
            assert_within(tuned.get_submodule(f"{block}.mlp.up_proj").weight, exact, 2e-5)

    def test_eight_bits_are_nearly_the_model_itself(self):
        base, tuned = pair(bias=True)
        exact = tuned(text()).detach()
        errors = []
        for bits in (3, 8):
            model = copy.deepcopy(tuned)
            QuantLRM(bits, 8, n_grid=4).quantize(model, base.state_dict(), [text()])
            errors.append(float((model(text()).detach() - exact).square().mean()))
        assert errors[1] < errors[0] / 300, "a step is 36 times smaller, and its square 1300 times"

    def test_one_exponent_is_plain_rounding(self):
        base, tuned = pair()
        plain = copy.deepcopy(tuned)
        QuantLRM(3, 8, n_grid=1, clip=False).quantize(tuned, base.state_dict(), [text()])
        bits = round_to_nearest(plain, 3, 8)
        assert same(plain, state(tuned))
        assert bits == pytest.approx(8.0)

    def test_later_blocks_see_what_they_saw_before(self):
        only = QuantLRM(2, 8, n_grid=1, clip=False)
        one, other = pair()[1], pair()[1]
        with torch.no_grad():
            x = one.embed_tokens(text()) + one.positions.weight[:10]
            x = one.layers[0](x)
            block = one.layers[1]
            normed = block.input_layernorm(x)
            exact = block.self_attn(normed)[0]
            attention = copy.deepcopy(block.self_attn)
            for name in "qkv":
                weight = getattr(attention, f"{name}_proj").weight
                weight.copy_(quantize_groups(weight, 2, 8).dequantize())
            error = float((attention(normed)[0] - exact).square().mean())
        report = only.quantize(other, pair()[0].state_dict(), [text()])
        assert report.groups[4].plain_error == pytest.approx(error, rel=1e-4)

    def test_what_is_cut_is_searched_for_behind_the_scales(self):
        base, tuned = pair()
        block = copy.deepcopy(tuned.layers[0])
        with torch.no_grad():
            x = tuned.embed_tokens(text()) + tuned.positions.weight[:10]
            x = block.post_attention_layernorm(x + block.self_attn(block.input_layernorm(x))[0])
            x = (silu(block.mlp.gate_proj(x)) * block.mlp.up_proj(x)).flatten(0, 1)
        report = QuantLRM(2, None, n_grid=4).quantize(tuned, base.state_dict(), [text()])
        scale = report.groups[3].scale
        assert scale.min() != scale.max()
        weight = block.mlp.down_proj.weight * scale
        limit = search_clip(weight, x / scale, 2, None)
        assert not torch.equal(limit, search_clip(weight, x, 2, None))
        exact = quantize_groups(weight, 2, None, limit=limit).dequantize()
        assert_within(tuned.layers[0].mlp.down_proj.weight, exact, 1e-5)
        uncut = quantize_groups(block.self_attn.k_proj.weight * report.groups[0].scale, 2, None).dequantize()
        assert_within(tuned.layers[0].self_attn.k_proj.weight, uncut, 1e-5)

    def test_padding_does_not_count(self):
        base, tuned = pair()
        padded = torch.cat([text(), torch.zeros(2, 2, dtype=torch.int64)], 1)
        mask = torch.ones_like(padded)
        mask[:, 10:] = 0

        class Masked(CharacterLM):
            def forward(self, input_ids, attention_mask=None):
                return super().forward(input_ids)

        for model in (base, tuned):
            model.__class__ = Masked
        one, other = copy.deepcopy(tuned), copy.deepcopy(tuned)
        short = HOW.quantize(one, base.state_dict(), [text()])
        long = HOW.quantize(other, base.state_dict(), [{"input_ids": padded, "attention_mask": mask}])
        assert long.tokens == short.tokens == 20
        for a, b in zip(short.groups, long.groups, strict=True):
            assert a.history == pytest.approx(b.history, rel=1e-4)

    def test_batches_count_as_their_tokens(self):
        base, tuned = pair()
        both = text(4)
        one, other = copy.deepcopy(tuned), copy.deepcopy(tuned)
        together = HOW.quantize(one, base.state_dict(), [both])
        apart = HOW.quantize(other, base.state_dict(), iter([both[:1], both[1:]]))
        for a, b in zip(together.groups, apart.groups, strict=True):
            assert a.history == pytest.approx(b.history, rel=1e-4)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, dtype):
        base, tuned = pair(dtype=dtype)
        report = HOW.quantize(tuned, base.state_dict(), [text()])
        assert all(p.dtype == dtype for p in tuned.parameters())
        assert all(group.scale.dtype == torch.float32 for group in report.groups)
        assert tuned(text()).isfinite().all()

    def test_modes_and_gradients_are_as_before(self):
        base, tuned = pair()
        tuned.train()
        tuned.layers[0].eval()
        HOW.quantize(tuned, base.state_dict(), [text()])
        assert tuned.training
        assert not tuned.layers[0].training
        assert all(p.requires_grad and p.grad is None for p in tuned.parameters())


class TestImportance:
    def test_the_importances_given_are_those_of_the_base(self):
        base, tuned = pair()
        one, other = copy.deepcopy(tuned), copy.deepcopy(tuned)
        names = [name for name in base.state_dict() if "_proj" in name]
        importance = update_importances(base.state_dict(), tuned.state_dict(), names)
        HOW.quantize(one, base.state_dict(), [text()])
        report = HOW.quantize(other, None, [text()], importance=importance)
        assert same(one, state(other))
        assert report.stats is None

    def test_activations_need_no_base(self):
        _, tuned = pair()
        tuned.layers[0].mlp.up_proj.weight.data[0] *= 100
        report = HOW.quantize(tuned, None, [text()], importance="activations")
        down = report.groups[3]
        assert down.alpha > 0
        assert int(down.scale.argmax()) == 0

    def test_the_released_median_is_another(self):
        base, tuned = pair()
        one, other = (
            QuantLRM(3, 8, n_grid=1, official_compat=flag).quantize(copy.deepcopy(tuned), base.state_dict(), [text()])
            for flag in (True, False)
        )
        assert one.stats.x_mid != other.stats.x_mid

    def test_pseudo_fine_tuning_gives_updates_and_leaves_the_model(self):
        _, model = pair()
        before = state(model)

        def loss(m, batch):
            return next_character_loss(m, batch["input_ids"])

        tuned = pseudo_fine_tune(model, [text(seed=s) for s in range(3)], learning_rate=1e-3, loss=loss)
        assert same(model, before)
        assert all(p.grad is None for p in model.parameters())
        moved = (tuned["layers.0.mlp.up_proj.weight"] - before["layers.0.mlp.up_proj.weight"]).abs()
        assert 1e-4 < float(moved.max()) < 4e-3
        assert HOW.quantize(model, tuned, [text()]).stats.x_max < 4e-3
        with pytest.raises(ValueError, match="learning_rate must be above 0"):
            pseudo_fine_tune(model, [text()], learning_rate=0.0, loss=loss)
        with pytest.raises(ValueError, match="no calibration text"):
            pseudo_fine_tune(model, [], loss=loss)
        with pytest.raises(ValueError, match="the loss of step 0 is nan"):
            pseudo_fine_tune(model, [text()], loss=lambda m, b: loss(m, b) * math.nan)

    def test_pseudo_fine_tuning_in_half_precision_keeps_zeros(self):
        _, model = pair(dtype=torch.bfloat16)
        tuned = pseudo_fine_tune(
            model, [text()], learning_rate=1e-5, loss=lambda m, b: next_character_loss(m, b["input_ids"])
        )
        weight = model.layers[0].mlp.up_proj.weight
        share = (tuned["layers.0.mlp.up_proj.weight"] == weight).float().mean()
        assert tuned["layers.0.mlp.up_proj.weight"].dtype == torch.bfloat16
        assert 0.5 < share < 1.0
