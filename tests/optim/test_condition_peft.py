"""KappaTune: what PEFT adapts of the chosen parameters, and no more."""

import math

import pytest
import torch
from torch import nn

from entrokit.optim.condition import condition_numbers, measure_matrices, peft_targets, select_by_condition

from .conditioned import Experts, Tied


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(4, 4)
        self.up_proj = nn.Linear(4, 8)
        self.experts = Experts(torch.randn(4, 4), torch.randn(4, 4))

    def forward(self, x):
        x = x + self.q_proj(x) + self.up_proj(x)[..., :4]
        return x + torch.einsum("bi,eij->bj", x, self.experts.gate_up_proj)


class Model(nn.Module):
    def __init__(self, blocks=3):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList(Block() for _ in range(blocks))

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Conv1D(nn.Module):
    """As that of transformers is called."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))


def nested():
    return nn.ModuleDict({"a": Experts(torch.ones(2, 2)), "b": nn.ModuleDict({"a": Experts(torch.ones(2, 2))})})


class TestPeft:
    def test_weights_become_modules_and_the_rest_parameters(self):
        names = ["layers.1.q_proj.weight", "embed.weight", "layers.0.experts.gate_up_proj", "layers.1.q_proj.bias"]
        found = peft_targets(Model(), names)
        assert found.target_modules == ["layers.1.q_proj", "embed"]
        assert found.target_parameters == ["layers.0.experts.gate_up_proj", "layers.1.q_proj.bias"]
        assert peft_targets(Model(), names[:1]).target_parameters is None

    @pytest.mark.parametrize(
        "layer",
        [nn.Linear(2, 2), nn.Embedding(3, 2), nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv3d(2, 2, 1), Conv1D()],
    )
    def test_layers_that_peft_adapts_are_given_by_their_module_and_once(self, layer):
        found = peft_targets(nn.ModuleDict({"own": layer}), ["own.weight", "own.weight"])
        assert (found.target_modules, found.target_parameters) == (["own"], None)

    def test_a_weight_of_another_layer_is_a_parameter(self):
        found = peft_targets(nn.ModuleDict({"norm": nn.LayerNorm(2)}), ["norm.weight", "norm.weight"])
        assert (found.target_modules, found.target_parameters) == ([], ["norm.weight"])

    def test_where_ends_of_names_are_not_enough_it_is_one_expression(self):
        model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
        assert peft_targets(model, ["1.0.weight"]).target_modules == ["1.0"]
        assert peft_targets(model, ["0.weight", "1.1.weight"]).target_modules == r"0|1\.1"

    @pytest.mark.parametrize(
        ("model", "names", "message"),
        [
            (Model, [], "needs a list of names"),
            (Model, "embed.weight", "needs a list of names"),
            (Model, ["embed"], "no parameter 'embed'"),
            (Tied, ["head.weight"], "embed.weight and head.weight are one weight"),
            (lambda: nn.Linear(2, 2), ["weight"], "weight is of the model itself"),
            (nested, ["a.gate_up_proj"], "would adapt .'b.a.gate_up_proj'"),
        ],
    )
    def test_what_an_adapter_cannot_do_is_named(self, model, names, message):
        with pytest.raises(ValueError, match=message):
            peft_targets(model(), names)

    @pytest.mark.parametrize("count", [1, 4, 25, 31])
    def test_peft_adapts_exactly_these(self, count):
        peft = pytest.importorskip("peft")
        torch.manual_seed(count)
        model = Model(blocks=15)
        kappas = condition_numbers(model, include=lambda name, p: "experts" not in name)
        names = select_by_condition(kappas, num=count)
        names += [f"layers.{i}.experts.gate_up_proj" for i in (1, 11)]
        targets = peft_targets(model, names)
        config = peft.LoraConfig(
            r=2, target_modules=targets.target_modules, target_parameters=targets.target_parameters, lora_dropout=0.0
        )
        adapted = peft.get_peft_model(model, config)
        owners = {
            n.partition("base_model.model.")[2].partition(".lora_")[0].replace(".base_layer", "")
            for n, p in adapted.named_parameters()
            if p.requires_grad
        }
        assert owners == {n.rpartition(".")[0] for n in names}

    def test_peft_takes_the_expression(self):
        peft = pytest.importorskip("peft")
        model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
        targets = peft_targets(model, ["0.weight", "1.1.weight"])
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets.target_modules))
        owners = {n.partition(".lora_")[0] for n, p in adapted.named_parameters() if p.requires_grad}
        assert owners == {"base_model.model.0", "base_model.model.1.1"}

    def test_its_own_selector_chooses_the_same_and_puts_a_matrix_of_zeros_first(self):
        helpers = pytest.importorskip("peft.helpers")
        selector = getattr(helpers, "KappaTuneSelector", None)
        if selector is None:
            pytest.skip("this version of PEFT has no KappaTuneSelector")
        torch.manual_seed(0)
        model = Model()
        kappas = condition_numbers(model, floor=1e-8, include=lambda n, p: n.endswith("proj.weight"))
        chosen = peft_targets(model, select_by_condition(kappas, num=4)).target_modules
        assert selector(model, show_progress=False).get_best_targets(num_modules=4) == chosen
        nn.init.zeros_(model.layers[2].q_proj.weight)
        assert selector(model, show_progress=False).get_best_targets(num_modules=1) == ["layers.2.q_proj"]
        assert measure_matrices(model, floor=1e-8)["layers.2.q_proj.weight"].kappa == math.inf
