"""Parameters with several names: tied weights, and layers in two places, quantised, copied, packed and loaded."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from entrokit.compression.ofq import (
    QKReparamAttention,
    dequantized,
    packed_state_dict,
    quantize_model,
    quantized_weights,
    unpacked_state_dict,
)

from .ofq_cases import FusedAttention


class LanguageModel(nn.Module):
    """An embedding whose table is the head's weight."""

    def __init__(self):
        super().__init__()
        self.embed, self.mid, self.head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.mid(self.embed(ids)))


def tied_layers():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    model[1].weight = model[0].weight
    return model


def test_a_tied_head_is_refused_and_left_in_float_when_asked():
    model, ids = LanguageModel(), torch.arange(9)
    with pytest.raises(
        ValueError, match=r"head.weight is one parameter with embed.weight, .*skip='head.weight'.*untie"
    ):
        quantize_model(model, 3)
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    quantize_model(model, 3, skip="head.weight")
    plain, loaded = dequantized(model), LanguageModel()
    assert plain.head.weight is plain.embed.weight
    loaded.load_state_dict(unpacked_state_dict(packed_state_dict(model)))
    assert loaded.head.weight is loaded.embed.weight
    assert torch.equal(loaded(ids), model(ids))
    assert torch.equal(plain(ids), model(ids))


def test_untied_as_the_error_says_it_is_exported_bit_for_bit():
    model, loaded, ids = LanguageModel(), LanguageModel(), torch.arange(9)
    for each in (model, loaded):
        each.head.weight = nn.Parameter(each.head.weight.detach().clone())
    quantize_model(model, 3)
    loaded.load_state_dict(unpacked_state_dict(packed_state_dict(model)))
    assert torch.equal(loaded(ids), model(ids))


@pytest.mark.parametrize("method", ["statsq", "lsq", "ste"])
def test_layers_of_one_weight_stay_tied(method):
    model, loaded, x = tied_layers(), tied_layers(), torch.randn(4, 6)
    made = quantize_model(model, 2, method=method)
    assert made["0.weight"] is made["1.weight"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().sum().backward()
    optimizer.step()
    found = quantized_weights(model)
    assert found["0.weight"].parameter is found["1.weight"].parameter
    assert torch.equal(model[0].weight, model[1].weight)
    plain = dequantized(model)
    assert plain[0].weight is plain[1].weight
    assert torch.equal(plain(x), model(x))
    loaded.load_state_dict(unpacked_state_dict(packed_state_dict(model)))
    assert torch.equal(loaded(x), model(x))
    again = tied_layers()
    quantize_model(again, 2, method=method)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("options", [{"layers": "0"}, {"layers": "1"}, {"skip": "0"}])
def test_one_of_two_uses_is_refused(options):
    model = tied_layers()
    with pytest.raises(ValueError, match=r"(0.weight is one parameter with 1|1.weight is one parameter with 0).weight"):
        quantize_model(model, 2, **options)
    assert not parametrize.is_parametrized(model[0])
    assert not parametrize.is_parametrized(model[1])
    assert model[0].weight is model[1].weight


def test_what_was_tied_afterwards_is_named():
    float_use, other_bits = tied_layers(), tied_layers()
    for model in (float_use, other_bits):
        model[1].weight = nn.Parameter(torch.randn(6, 6))
        quantize_model(model, 2, layers="0")
    float_use[1].weight = float_use[0].parametrizations.weight.original
    quantize_model(other_bits, 3, layers="1")
    other_bits[1].parametrizations.weight.original = other_bits[0].parametrizations.weight.original
    for model in (float_use, other_bits):
        for export in (dequantized, packed_state_dict):
            with pytest.raises(ValueError, match=r"one parameter with [01].weight, but not of one quantiser"):
                export(model)


class TestTwoPlaces:
    def shared(self):
        layer = nn.Linear(6, 6)
        return nn.Sequential(layer, nn.ReLU(), layer)

    def test_a_layer_is_packed_by_both_names(self):
        model, loaded, x = self.shared(), self.shared(), torch.randn(4, 6)
        assert list(quantize_model(model, 2)) == ["0.weight"]
        state = packed_state_dict(model)
        assert not {"0.weight", "2.weight"} & set(state)
        assert state["2.weight:codes"].dtype == torch.uint8
        loaded.load_state_dict(unpacked_state_dict(state))
        assert torch.equal(loaded(x), model(x))
        plain = dequantized(model)
        assert plain[0] is plain[2]

    def test_so_are_products(self):
        attention = QKReparamAttention.from_attention(FusedAttention(), 2)
        state = packed_state_dict(nn.Sequential(attention, attention))
        assert {"0.qk:codes", "1.qk:codes"} <= set(state)
        assert not {"0.qk", "1.qk"} & set(state)

    def test_safetensors_takes_it(self, tmp_path):
        safe = pytest.importorskip("safetensors.torch")
        model = nn.ModuleDict({"shared": self.shared(), "tied": LanguageModel()})
        quantize_model(model, 3, skip="tied.head")
        state = packed_state_dict(model)
        safe.save_file(state, tmp_path / "model.safetensors")
        again = unpacked_state_dict(safe.load_file(tmp_path / "model.safetensors"))
        plain = dequantized(model).state_dict()
        assert set(again) == set(plain)
        assert all(torch.equal(again[name], plain[name]) for name in plain)
