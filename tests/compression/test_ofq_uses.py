"""Quantised models as training loops use them: closures, several optimisers, resumed states, layers in two places."""

import math

import pytest
import torch
from torch import nn

from entrokit.compression.ofq import (
    ConfidenceGuidedAnnealing,
    LearnedStepQuantizer,
    OscillationMonitor,
    OscillationTracker,
    ProductAttention,
    QKReparamAttention,
    dequantized,
    packed_state_dict,
    quantize_model,
    quantized_weights,
    unpacked_state_dict,
)

from .ofq_cases import FusedAttention, learn, mlp


def quantised(bits=2, **options):
    model = mlp()
    quantize_model(model, bits, **options)
    return model


def with_products():
    return nn.Sequential(QKReparamAttention.from_attention(FusedAttention(), 2), nn.Linear(12, 3))


class TestAnnealing:
    @pytest.mark.parametrize("as_keyword", [False, True])
    def test_gradients_of_a_closure_are_masked_too(self, as_keyword):
        model, x = quantised(), torch.randn(8, 6)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        losses = []

        def closure():
            optimizer.zero_grad()
            losses.append(model(x).square().mean())
            losses[-1].backward()
            return losses[-1]

        with ConfidenceGuidedAnnealing(model, optimizer, 0.1) as annealing:
            masks = annealing.masks()
            given = optimizer.step(closure=closure) if as_keyword else optimizer.step(closure)
        assert given is losses[0]
        assert len(losses) == 1
        for name, weight in quantized_weights(model).items():
            momentum = optimizer.state[weight.parameter]["momentum_buffer"]
            assert (momentum[~masks[name]] == 0.0).all()
        assert any(
            (optimizer.state[w.parameter]["momentum_buffer"] != 0.0).any() for w in quantized_weights(model).values()
        )

    def test_a_line_search_is_held(self):
        model, x = quantised(), torch.randn(8, 6)
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3, line_search_fn="strong_wolfe")
        before = {name: w.parameter.detach().clone() for name, w in quantized_weights(model).items()}
        bias = model[4].bias.detach().clone()

        def closure():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            return loss

        with ConfidenceGuidedAnnealing(model, optimizer, 0.0):
            optimizer.step(closure)
        assert all(torch.equal(w.parameter, before[name]) for name, w in quantized_weights(model).items())
        assert not torch.equal(model[4].bias, bias)

    def test_a_group_that_is_added_later_is_frozen(self):
        model = quantised()
        optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
        with ConfidenceGuidedAnnealing(model, optimizer, 0.0) as annealing:
            assert list(annealing.masks()) == ["0.weight"]
            optimizer.add_param_group({"params": list(model[2].parameters())})
            before = model[2].parametrizations.weight.original.detach().clone()
            learn(model, optimizer, 1)
            assert torch.equal(model[2].parametrizations.weight.original, before)
            assert list(annealing.masks()) == ["0.weight", "2.weight"]

    def test_two_optimisers_have_their_own_weights(self):
        model = quantised()
        first, second = (torch.optim.SGD(model[i].parameters(), lr=0.1) for i in (0, 2))
        with ConfidenceGuidedAnnealing(model, first, 0.0):
            model(torch.randn(8, 6)).square().mean().backward()
            before = [model[i].parametrizations.weight.original.detach().clone() for i in (0, 2)]
            first.step()
            second.step()
        after = [model[i].parametrizations.weight.original for i in (0, 2)]
        assert [torch.equal(a, b) for a, b in zip(after, before, strict=True)] == [True, False]

    def test_products_are_of_the_optimiser_that_trains_them_and_annealed_once(self):
        model = with_products()
        other = torch.optim.SGD(model[1].parameters(), lr=0.1)
        with pytest.raises(ValueError, match="the optimizer has none of the quantised weights"):
            ConfidenceGuidedAnnealing(model, other)
        own = torch.optim.SGD(model[0].parameters(), lr=0.1)
        annealing = ConfidenceGuidedAnnealing(model, own, 0.01)
        with pytest.raises(ValueError, match=r"0.qk is annealed already.*remove that first"):
            ConfidenceGuidedAnnealing(model, own, 0.02)
        assert model[0].quantizer.boundary_range == 0.01
        assert len(own._optimizer_step_pre_hooks) == 1
        annealing.remove()
        assert model[0].quantizer.boundary_range is None


class TestResumed:
    def test_a_monitor_follows_parameters_that_were_assigned(self):
        model = quantised()
        monitor = OscillationMonitor(model)
        monitor.update()
        model.load_state_dict(
            {n: -v if v.is_floating_point() else v for n, v in model.state_dict().items()}, assign=True
        )
        assert monitor.update()["changed"] == 1.0
        plain = dequantized(model)
        monitor._model = plain
        with pytest.raises(ValueError, match="no quantised weights"):
            monitor.update()
        quantize_model(plain, 2, skip="2")
        with pytest.raises(ValueError, match=r"2.weight are no longer quantised"):
            monitor.update()

    def test_states_of_others_are_refused(self):
        narrow, wide = nn.Sequential(nn.Linear(3, 4)), nn.Sequential(nn.Linear(5, 4))
        for model in (narrow, wide):
            quantize_model(model, 2)
        monitor, other = OscillationMonitor(wide), OscillationMonitor(narrow)
        other.update()
        monitor.update()
        with pytest.raises(ValueError, match=r"0.weight has codes of shape \[4, 3\], and a weight of \[4, 5\]"):
            monitor.load_state_dict(other.state_dict())
        with pytest.raises(ValueError, match="no state of an OscillationMonitor"):
            monitor.load_state_dict(None)
        monitor.update()
        assert monitor.trackers["0.weight"].updates == 1

    @pytest.mark.parametrize(
        ("change", "message"),
        [({"momentum": 5.0}, "momentum is above 0"), ({"codes": [1]}, "codes is a list"), ({"total": 3}, "an? int")],
    )
    def test_a_state_that_cannot_be(self, change, message):
        tracker = OscillationTracker()
        tracker.update(torch.tensor([1]))
        with pytest.raises(ValueError, match=message):
            tracker.load_state_dict(tracker.state_dict() | change)
        assert tracker.momentum == 0.01


class TestModels:
    def test_attention_in_two_places_is_deployed_in_both(self):
        attention = QKReparamAttention.from_attention(FusedAttention(), 2)
        model, x = nn.Sequential(attention, attention), torch.randn(2, 5, 12)
        plain = dequantized(model)
        assert type(plain[0]) is ProductAttention
        assert plain[0] is plain[1]
        assert torch.equal(plain(x), model(x))
        loaded = nn.Sequential(ProductAttention(12, 3), ProductAttention(12, 3))
        loaded.load_state_dict(unpacked_state_dict(packed_state_dict(model)))
        assert torch.equal(loaded(x), model(x))

    def test_weights_with_inputs_first_are_named(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.Conv2d(3, 2, 1))
        with pytest.raises(ValueError, match=r"0.weight of a ConvTranspose2d has inputs first.*every output; skip it"):
            quantize_model(model, 2)
        assert list(quantize_model(model, 2, skip="0")) == ["1.weight"]

    def test_gpt_2_is_not_left_in_float_without_a_word(self):
        Conv1D = pytest.importorskip("transformers.pytorch_utils").Conv1D
        model = nn.ModuleDict({"c_attn": Conv1D(9, 3), "lm_head": nn.Linear(3, 5)})
        with pytest.raises(ValueError, match=r"c_attn.weight of a Conv1D has inputs first.*put a Linear in its"):
            quantize_model(model, 2)
        assert list(quantize_model(model, 2, skip="c_*")) == ["lm_head.weight"]

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("relative_position_bias_table", nn.Parameter(torch.ones(9, 3)), "has relative_position_bias_table beside"),
            ("norm", nn.LayerNorm(12), "has norm.weight, norm.bias beside"),
            ("scale", 1.0, "scaled by 1.0, and here by"),
        ],
    )
    def test_what_products_would_lose_is_refused(self, name, value, message):
        module = FusedAttention()
        module.scale = 0.5
        QKReparamAttention.from_attention(module, 2)
        setattr(module, name, value)
        with pytest.raises(ValueError, match=message):
            QKReparamAttention.from_attention(module, 2)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"key": torch.ones(2, 5, 12)}, "key and value are x itself. Call it as"),
            ({"need_weights": True}, r"it gives no weights \(need_weights=False\). Call"),
            ({"is_causal": True}, "a hint about attn_mask, which is not given"),
        ],
    )
    def test_what_torch_s_can_do_beyond_is_refused(self, given, message):
        with pytest.raises(ValueError, match=f"^QKReparamAttention: .*{message}"):
            QKReparamAttention(12, 3, 2)(torch.ones(2, 5, 12), **given)

    def test_bits_behind_the_last_code_name_their_weight(self):
        state = packed_state_dict(quantised(3))
        state["2.weight:codes"][0, -1] |= 128
        with pytest.raises(ValueError, match=r"2.weight: .*behind code 9"):
            unpacked_state_dict(state)
        state["2.weight:layout"] = state["2.weight:layout"] * math.nan
        with pytest.raises(ValueError, match="2.weight:layout is none"):
            unpacked_state_dict(state)

    def test_steps_that_became_nan_are_named(self):
        weight = torch.randn(3, 4)
        quantizer = LearnedStepQuantizer(3, weight)
        with torch.no_grad():
            quantizer.step[1] = math.nan
        for call in (quantizer, quantizer.codes, quantizer.distance):
            with pytest.raises(ValueError, match="1 of 3 steps are NaN or inf"):
                call(weight)
