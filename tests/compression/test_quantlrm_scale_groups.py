"""QuantLRM: which layers of a block share scales, and which cannot have any."""

import copy

import pytest
import torch
from torch import nn

from entrokit.compression.quantlrm import QuantLRM, ScaleGroup, llama_groups
from entrokit.papers.compression._character_lm import Norm

from .fine_tuned import pair, same, state, text

HOW = QuantLRM(3, 8, n_grid=4)


class TestGroups:
    def test_heads_that_are_shared_are_passed_over_or_averaged(self):
        base, tuned = pair(heads=4, kv_heads=2)
        skipped, mean = copy.deepcopy(tuned), copy.deepcopy(tuned)
        report = HOW.quantize(skipped, base.state_dict(), [text()])
        assert len(report.groups) == 6
        assert len(report.skipped) == 2
        assert report.skipped[0].startswith("layers.0: self_attn.o_proj: not scaled, self_attn.v_proj gives 8 channels")
        report = QuantLRM(3, 8, n_grid=4, grouped_heads="mean").quantize(mean, base.state_dict(), [text()])
        assert len(report.groups) == 8
        by_head = report.groups[1].scale.view(2, 2, 4)
        assert torch.equal(by_head[:, 0], by_head[:, 1])

    def test_a_norm_that_is_no_plain_factor_is_found_out(self):
        base, tuned = pair()

        class Offset(Norm):
            def forward(self, x):
                return (1 + self.weight) * x

        for block in tuned.layers:
            block.input_layernorm.__class__ = Offset
        report = HOW.quantize(tuned, base.state_dict(), [text()])
        assert len(report.groups) == 6
        assert "dividing input_layernorm changes what the block gives" in report.skipped[0]

    def test_groups_of_one_s_own(self):
        base, tuned = pair()
        before = state(tuned)
        groups = [ScaleGroup(("mlp.down_proj",), "mlp.up_proj")]
        report = HOW.quantize(tuned, base.state_dict(), [text()], groups=groups, blocks="layers")
        assert [g.linears for g in report.groups] == [("layers.0.mlp.down_proj",), ("layers.1.mlp.down_proj",)]
        assert "self_attn.q_proj" in report.skipped[0]
        assert report.skipped[0].endswith("not scaled, in no group")
        assert torch.equal(tuned.layers[0].input_layernorm.weight, before["layers.0.input_layernorm.weight"])
        assert not torch.equal(tuned.layers[0].self_attn.q_proj.weight, before["layers.0.self_attn.q_proj.weight"])

    def test_norms_behind_the_sublayers_have_no_groups_before_them(self):
        _, tuned = pair()
        block = tuned.layers[0]
        assert len(llama_groups(block)) == 4
        del block.input_layernorm
        assert [group.linears[0] for group in llama_groups(block)] == ["self_attn.o_proj", "mlp.down_proj"]
        assert llama_groups(nn.Linear(2, 2)) == []

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            (ScaleGroup(("mlp.down",), "mlp.up_proj"), "no block has all of mlp.down, mlp.up_proj"),
            (ScaleGroup(("mlp",), "mlp.up_proj"), "mlp is no linear layer"),
            (
                ScaleGroup(("mlp.down_proj",), "mlp.gate_proj"),
                "mlp.down_proj: not scaled, dividing mlp.gate_proj changes",
            ),
            (ScaleGroup(("mlp.down_proj",), "input_layernorm"), "gives 16 channels and 32 are taken"),
            (ScaleGroup(("mlp.down_proj",), "mlp"), "mlp has no weight to divide"),
        ],
    )
    def test_groups_that_cannot_be_are_named(self, group, message):
        base, tuned = pair()
        before = state(tuned)
        with pytest.raises(ValueError, match=message):
            HOW.quantize(tuned, base.state_dict(), [text()], groups=[group])
        assert same(tuned, before)

    def test_a_layer_in_two_groups_is_named(self):
        base, tuned = pair()
        down = ScaleGroup(("mlp.down_proj",), "mlp.up_proj")
        with pytest.raises(ValueError, match="mlp.down_proj is in two groups"):
            HOW.quantize(tuned, base.state_dict(), [text()], groups=[down, down])

    def test_groups_that_are_none(self):
        with pytest.raises(ValueError, match="a tuple of names"):
            ScaleGroup("q_proj", "norm")
        with pytest.raises(ValueError, match="2 layers need inspect"):
            ScaleGroup(("q", "k"), "norm")

    def test_a_model_in_which_no_group_is_found_is_warned_of(self):
        block = nn.Sequential()
        for name in ("dense", "intermediate"):
            block.add_module(name, nn.Linear(16, 16))
        embed, blocks = nn.Embedding(128, 16), nn.Sequential(block)
        model = nn.ModuleDict({"embed": embed, "blocks": blocks})
        model.forward = lambda ids: block(embed(ids))
        message = r"no group of layers to scale is found, .*blocks.0 has dense, intermediate\).*ScaleGroup"
        how = QuantLRM(3, 8, n_grid=1, clip=False)
        with pytest.warns(UserWarning, match=message):
            report = how.quantize(model, None, [text()], importance="activations", blocks="blocks")
        assert report.groups == ()
