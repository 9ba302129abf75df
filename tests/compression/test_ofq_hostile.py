"""Quantised models in others' hands: closures, groups that come later, layers that lie otherwise, foreign states."""

import pytest
import torch
from torch import nn

from entrokit.compression.ofq import (
    ConfidenceGuidedAnnealing,
    OscillationMonitor,
    QKReparamAttention,
    dequantized,
    packed_state_dict,
    quantize_model,
    quantized_weights,
    unpacked_state_dict,
)

from .ofq_cases import FusedAttention, mlp


def quantised(**options):
    model = mlp(torch.float64)
    quantize_model(model, 2, **options)
    return model


def latents(model):
    return {name: weight.parameter.detach().clone() for name, weight in quantized_weights(model).items()}


@pytest.mark.parametrize("named", [False, True])
def test_a_closure_s_gradients_are_masked(named):
    model = quantised()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    inputs = torch.randn(8, model[0].in_features, dtype=torch.float64)

    def closure():
        optimizer.zero_grad()
        loss = model(inputs).square().sum()
        loss.backward()
        return loss

    with ConfidenceGuidedAnnealing(model, optimizer, 0.05) as annealing:
        before, masks = latents(model), annealing.masks()
        assert optimizer.step(closure=closure) > 0 if named else optimizer.step(closure) > 0
        for name, after in latents(model).items():
            assert torch.equal(after[~masks[name]], before[name][~masks[name]])
            gradient = quantized_weights(model)[name].parameter.grad
            assert not gradient[~masks[name]].any()


def test_weights_of_a_group_that_comes_later_are_frozen_too():
    model = quantised()
    first, second = (weight.parameter for weight in list(quantized_weights(model).values())[:2])
    optimizer = torch.optim.SGD([first], lr=1.0)
    with ConfidenceGuidedAnnealing(model, optimizer, 0.0):
        optimizer.add_param_group({"params": [second]})
        before = second.detach().clone()
        for parameter in (first, second):
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert torch.equal(second, before)


@pytest.mark.parametrize("layer", [nn.ConvTranspose1d(4, 6, 3), nn.ConvTranspose2d(4, 6, 3)], ids=["1d", "2d"])
def test_weights_with_inputs_first_are_refused_and_can_be_skipped(layer):
    model = nn.ModuleDict({"up": layer, "flat": nn.Linear(6, 4)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="up.weight of a ConvTranspose.d has inputs first"):
        quantize_model(model, 4)
    assert {n: v.tolist() for n, v in model.state_dict().items()} == {n: v.tolist() for n, v in before.items()}
    assert list(quantize_model(model, 4, skip=["up"])) == ["flat.weight"]


def test_layers_of_gpt2_are_named():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16, n_positions=8)
    with pytest.raises(ValueError, match="of a Conv1D has inputs first"):
        quantize_model(transformers.GPT2LMHeadModel(config), 2)


def test_an_attention_with_more_than_two_layers_is_refused():
    module = FusedAttention(8, 2)
    module.bias_table = nn.Parameter(torch.zeros(4))
    with pytest.raises(ValueError, match="bias_table beside qkv and proj"):
        QKReparamAttention.from_attention(module, 4)
    module = FusedAttention(8, 2)
    module.scale = 0.3
    with pytest.raises(ValueError, match=r"scaled by 0\.3"):
        QKReparamAttention.from_attention(module, 4)


def test_a_module_in_two_places_is_deployed_in_both():
    attention = QKReparamAttention.from_attention(FusedAttention(8, 2), 4)
    plain = dequantized(nn.ModuleDict({"a": attention, "b": attention}))
    assert plain["a"] is plain["b"]
    assert not isinstance(plain["a"], QKReparamAttention)


def test_a_monitor_follows_parameters_that_were_put_in_others_places():
    model = quantised()
    monitor = OscillationMonitor(model)
    monitor.update()
    moved = {name: -value for name, value in model.state_dict().items()}
    model.load_state_dict(moved, assign=True)
    assert monitor.update()["changed"] > 0.5


def test_a_monitor_refuses_states_of_other_shapes_and_none():
    state = OscillationMonitor(quantised()).state_dict()
    monitor = OscillationMonitor(quantised())
    monitor.update()
    grown = monitor.state_dict()
    name = next(iter(grown))
    grown[name] = {k: v[:1] if isinstance(v, torch.Tensor) else v for k, v in grown[name].items()}
    before = monitor.state_dict()
    for foreign, message in ((grown, "has codes of shape"), ([], "no state of an OscillationMonitor")):
        with pytest.raises(ValueError, match=message):
            monitor.load_state_dict(foreign)
    assert str(monitor.state_dict()) == str(before)
    state[name] = {**state[name], "momentum": 7.0}
    with pytest.raises(ValueError, match="momentum"):
        monitor.load_state_dict(state)


def test_a_layout_of_floats_is_none():
    state = packed_state_dict(quantised())
    key = next(key for key in state if key.endswith(":layout"))
    with pytest.raises(ValueError, match="layout is none"):
        unpacked_state_dict(state | {key: state[key].double()})


def test_learned_steps_that_became_nan_are_named():
    model = quantised(method="lsq")
    weight = next(iter(quantized_weights(model).values()))
    with torch.no_grad():
        weight.quantizer.step[0] = float("nan")
    with pytest.raises(ValueError, match="1 of .* steps are NaN or inf"):
        weight.codes()
