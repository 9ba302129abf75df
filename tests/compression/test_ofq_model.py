"""Models whose layers are quantised, and what is exported of them."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from entrokit.compression.ofq import (
    StatsQuantizer,
    dequantized,
    packed_state_dict,
    quantize_model,
    quantized_weights,
    stats_codes,
    stats_quantize,
    unpacked_state_dict,
)

from .ofq_cases import learn, mlp


def kernels():
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(64, 5))


def test_layers_multiply_by_quantised_weights_and_train_the_parameters_they_had():
    model = mlp()
    before = {name: p for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = quantize_model(model, 2)
    assert list(made) == ["0.weight", "2.weight", "4.weight"]
    found = quantized_weights(model)
    for name, weight in found.items():
        assert weight.parameter is before[name]
        assert weight.quantizer is made[name]
        layer = model.get_submodule(name.rpartition(".")[0])
        assert torch.equal(layer.weight, stats_quantize(before[name], 2))
        assert torch.equal(weight.codes(), stats_codes(before[name], 2))
        assert torch.equal(weight.latent(), before[name])
    assert model[0].bias is before["0.bias"]
    start = before["0.weight"].detach().clone()
    learn(model, optimizer, 1)
    assert not torch.equal(before["0.weight"], start)


@pytest.mark.parametrize("method", ["statsq", "lsq", "ste"])
def test_methods_learn(method):
    torch.manual_seed(3)
    model = mlp()
    made = quantize_model(model, 3, method=method)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    x, y = torch.randn(32, 6), torch.randn(32, 3)
    first = float((model(x) - y).square().mean().detach())
    steps = [q.step.detach().clone() for q in made.values() if method == "lsq"]
    for _ in range(30):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
    assert float((model(x) - y).square().mean().detach()) < first
    assert all(not torch.equal(a, q.step) for a, q in zip(steps, made.values(), strict=False))


def test_two_calls_for_the_ends_and_the_rest():
    model = mlp()
    quantize_model(model, 8, method="lsq", layers=["0", "4.weight"])
    made = quantize_model(model, 2, skip=["0", "4"])
    assert list(made) == ["2.weight"]
    assert [w.quantizer.bits for w in quantized_weights(model).values()] == [8, 2, 8]


def test_kernels_and_torch_s_attention():
    made = quantize_model(kernels(), 3)
    assert list(made) == ["0.weight", "2.weight"]
    for kdim in (None, 4):
        model = nn.ModuleDict({"attn": nn.MultiheadAttention(6, 2, kdim=kdim, batch_first=True)})
        names = ["in_proj_weight"] if kdim is None else ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        assert list(quantize_model(model, 2)) == [f"attn.{n}" for n in names] + ["attn.out_proj.weight"]
    model = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, dropout=0.0)
    quantize_model(model, 2)
    x = torch.randn(2, 3, 6)
    plain = dequantized(model)
    torch.testing.assert_close(model(x), plain(x))
    model.eval(), plain.eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(x), plain(x))


@pytest.mark.parametrize("method", ["statsq", "lsq", "ste"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_what_is_unpacked_is_what_was_packed(method, bits, dtype):
    model = kernels().to(dtype)
    with torch.no_grad():
        model[2].weight[1] = 0.0
    float_model = copy.deepcopy(model)
    quantize_model(model, bits, method=method)
    state = packed_state_dict(model)
    assert state["2.weight:codes"].shape == (5, 8 * bits)
    assert state["2.weight:steps"].dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    plain, unpacked = dequantized(model), unpacked_state_dict(state)
    assert set(unpacked) == set(plain.state_dict()) == set(float_model.state_dict())
    for name, value in plain.state_dict().items():
        assert unpacked[name].dtype == value.dtype
        assert torch.equal(unpacked[name], value)
    float_model.load_state_dict(unpacked)
    x = torch.randn(3, 2, 4, 4, dtype=dtype)
    assert torch.equal(float_model(x), model(x))
    assert torch.equal(plain(x), model(x))


def test_a_copy_shares_nothing_and_the_model_trains_on():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    quantize_model(model, 2, layers="0")
    x = torch.randn(4, 6)
    expected = model(x)
    plain = dequantized(model)
    assert torch.equal(plain(x), expected)
    assert not parametrize.is_parametrized(plain[0])
    assert plain[0].weight.requires_grad
    learn(plain, torch.optim.SGD(plain.parameters(), lr=0.1), 1)
    assert torch.equal(model(x), expected)


def test_modes_and_frozen_weights_are_as_they_were():
    model = mlp().eval()
    model[2].train()
    model[0].weight.requires_grad_(False)
    made = quantize_model(model, 2)
    assert [quantizer.training for quantizer in made.values()] == [False, True, False]
    assert [dequantized(model)[i].weight.requires_grad for i in (0, 2, 4)] == [False, True, True]


def test_states_and_copies_of_quantised_models():
    model, other = mlp(), mlp()
    for each in (model, other):
        quantize_model(each, 2, method="lsq")
    other.load_state_dict(model.state_dict())
    x = torch.randn(4, 6)
    assert torch.equal(other(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "from 2 to 8, got 1"),
        ((9,), "from 2 to 8, got 9"),
        ((2, {"method": "lsq+"}), "method is one of statsq, lsq, ste, got 'lsq\\+'"),
        ((2, {"layers": "fc1"}), "layers: nothing is named 'fc1'; there are 0, 2, 4"),
        ((2, {"skip": ["0", "head"]}), "skip: nothing is named 'head'"),
        ((2, {"skip": "*"}), "no layer is left"),
        ((2, {"layers": []}), "no layer is left"),
    ],
)
def test_bad_calls_are_named(arguments, message):
    model = mlp()
    bits, options = arguments[0], (arguments[1] if len(arguments) > 1 else {})
    with pytest.raises(ValueError, match=message):
        quantize_model(model, bits, **options)
    assert not any(parametrize.is_parametrized(module) for module in model.modules())


def spoil_nan(model):
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan


def spoil_meta(model):
    model[4] = nn.Linear(5, 3, device="meta")


def spoil_lazy(model):
    model[4] = nn.LazyLinear(3)


def spoil_empty(model):
    model[4] = nn.Linear(5, 0)


def spoil_dtype(model):
    model[4].weight = nn.Parameter(torch.ones(3, 5, dtype=torch.int8), requires_grad=False)


def spoil_twice(model):
    parametrize.register_parametrization(model[4], "weight", StatsQuantizer(2))


@pytest.mark.parametrize("method", ["statsq", "lsq", "ste"])
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (spoil_nan, ValueError, "4.weight: .*1 of 15 weights are NaN"),
        (spoil_meta, ValueError, "4.weight: .*meta device"),
        (spoil_lazy, ValueError, "4.weight has no shape yet"),
        (spoil_empty, ValueError, r"4.weight: .*not empty, got shape \[0, 5\]"),
        (spoil_dtype, TypeError, "4.weight: .*int8"),
        (spoil_twice, ValueError, "4.weight is quantised or otherwise parametrised already"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_weight_that_is_refused_leaves_the_model_as_it_was(method, spoil, error, message):
    model = mlp()
    spoil(model)
    with pytest.raises(error, match=message):
        quantize_model(model, 2, method=method)
    assert not any(parametrize.is_parametrized(model[i]) for i in (0, 2))


def test_a_model_without_layers_is_named():
    with pytest.raises(ValueError, match="nothing is named"):
        quantize_model(nn.LayerNorm(3), 2)
    with pytest.raises(ValueError, match="no quantised weights"):
        packed_state_dict(mlp())
    with pytest.raises(ValueError, match="no quantised weights"):
        quantized_weights(mlp())


def test_a_state_is_no_model():
    state = mlp().state_dict()
    for call in (lambda: quantize_model(state, 4), lambda: dequantized(state), lambda: quantized_weights(state)):
        with pytest.raises(TypeError, match=r": a model \(nn.Module\) is expected, got OrderedDict"):
            call()


class TestNames:
    @pytest.mark.parametrize("option", ["layers", "skip"])
    @pytest.mark.parametrize(
        ("pattern", "kind"),
        [("emb", "emb, of class Embedding"), ("rnn", "rnn, of class LSTM"), ("n*", "norm, of class LayerNorm")],
    )
    def test_what_is_never_quantised_is_told_from_what_is_not_there(self, option, pattern, kind):
        model = nn.ModuleDict(
            {"emb": nn.Embedding(4, 3), "rnn": nn.LSTM(3, 3), "norm": nn.LayerNorm(3), "fc": nn.Linear(3, 3)}
        )
        with pytest.raises(
            ValueError, match=f"{option}: nothing is named .* that is quantised: it fits {kind}, and weig"
        ):
            quantize_model(model, 2, **{option: pattern})
        with pytest.raises(ValueError, match=f"{option}: nothing is named 'head'; there are fc"):
            quantize_model(model, 2, **{option: "head"})
        assert list(quantize_model(model, 2)) == ["fc.weight"]

    def test_the_list_of_names_says_what_it_leaves_out_and_which_is_nearest(self):
        model = nn.ModuleDict({f"fc{i}": nn.Linear(3, 3) for i in range(10)} | {"lm_head": nn.Linear(3, 3)})
        with pytest.raises(ValueError, match=r"fc6, fc7 and 3 more; did you mean 'lm_head'\?"):
            quantize_model(model, 4, skip="head")
        with pytest.raises(ValueError, match=r"did you mean 'lm_head'\?"):
            quantize_model(model, 4, layers="lmhead")
        with pytest.raises(ValueError, match=r"and 3 more$"):
            quantize_model(model, 4, layers="blocks.*.qkv")
