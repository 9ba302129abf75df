"""CGA: what is frozen stays bit for bit, what is near a threshold moves, and nothing outlives it."""

import copy
import math

import pytest
import torch
from torch import nn

from entrokit.compression.ofq import (
    ConfidenceGuidedAnnealing,
    QKReparamAttention,
    dequantized,
    quantize_model,
    quantized_weights,
    updatable_mask,
)

from .ofq_cases import FusedAttention, learn, mlp

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, weight_decay=0.1),
}


def latents(model):
    return {name: weight.parameter.detach().clone() for name, weight in quantized_weights(model).items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ["statsq", "lsq", "ste"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_check_7_frozen_weights_are_the_same_bits(optimizer, method, dtype):
    model = mlp(dtype)
    quantize_model(model, 3, method=method)
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    learn(model, optimizer, 3)  # momentum to be frozen against
    moved = 0
    with ConfidenceGuidedAnnealing(model, optimizer, 0.1) as annealing:
        for _ in range(5):
            before, masks = latents(model), annealing.masks()
            bias = model[0].bias.detach().clone()
            learn(model, optimizer, 1)
            for name, after in latents(model).items():
                assert torch.equal(after[~masks[name]], before[name][~masks[name]])
                moved += int((after != before[name])[masks[name]].sum())
            assert not torch.equal(model[0].bias, bias)
    assert moved > 0


def test_masks_are_those_of_the_weights_as_they_are_now():
    model = mlp()
    quantize_model(model, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ConfidenceGuidedAnnealing(model, optimizer, 0.2) as annealing:
        for _ in range(3):
            expected = {name: updatable_mask(w, 2, 0.2) for name, w in latents(model).items()}
            masks = annealing.masks()
            assert all(torch.equal(masks[name], mask) for name, mask in expected.items())
            free = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
            assert annealing.free_share() == pytest.approx(free)
            learn(model, optimizer, 1)


def test_what_leaves_the_band_stays_where_it_is():
    model = nn.Linear(4, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():  # s = 1, a threshold at 0.5
        model.weight.copy_(torch.tensor([[0.501, 0.25, -0.3, -0.949]], dtype=torch.float64))
    quantize_model(model, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    course = []
    with ConfidenceGuidedAnnealing(model, optimizer, 0.01):
        for _ in range(3):
            model.parametrizations.weight.original.grad = torch.full((1, 4), 0.01, dtype=torch.float64)
            optimizer.step()
            course.append(model.parametrizations.weight.original.detach().flatten().tolist())
    assert course[0] == pytest.approx([0.491, 0.25, -0.3, -0.949], abs=1e-12)
    assert course[2] == course[1] == course[0]


def test_it_ends_with_its_block_or_by_hand():
    model = mlp()
    quantize_model(model, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = latents(model)

    def fail():
        with ConfidenceGuidedAnnealing(model, optimizer, 0.0):
            learn(model, optimizer, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(w, before[name]) for name, w in latents(model).items())
    learn(model, optimizer, 1)
    assert not any(torch.equal(w, before[name]) for name, w in latents(model).items())
    annealing = ConfidenceGuidedAnnealing(model, optimizer, 0.0)
    annealing.remove()
    annealing.remove()
    before = latents(model)
    learn(model, optimizer, 1)
    assert not any(torch.equal(w, before[name]) for name, w in latents(model).items())


def test_gradients_can_be_masked_before_they_are_clipped():
    model = mlp()
    quantize_model(model, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    annealing = ConfidenceGuidedAnnealing(model, optimizer, 0.1)
    model(torch.randn(8, 6)).square().sum().backward()
    given = {name: w.parameter.grad.clone() for name, w in quantized_weights(model).items()}
    free = annealing.mask_gradients()
    assert len(free) == 3
    for name, mask in annealing.masks().items():
        assert torch.equal(quantized_weights(model)[name].parameter.grad, torch.where(mask, given[name], 0.0))


def test_a_grad_scaler_s_steps_are_annealed_too():
    model = mlp()
    quantize_model(model, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with ConfidenceGuidedAnnealing(model, optimizer, 0.05) as annealing:
        before, masks = latents(model), annealing.masks()
        scaler.scale(model(torch.randn(8, 6)).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        after = latents(model)
    assert all(torch.equal(after[n][~masks[n]], before[n][~masks[n]]) for n in masks)
    assert any(not torch.equal(after[n], before[n]) for n in masks)


def test_only_the_layers_that_were_named():
    model = mlp()
    quantize_model(model, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ConfidenceGuidedAnnealing(model, optimizer, 0.0, layers=["2", "4.weight"]):
        before = latents(model)
        learn(model, optimizer, 1)
        after = latents(model)
    assert [name for name in after if torch.equal(after[name], before[name])] == ["2.weight", "4.weight"]


def test_a_tied_weight_is_held_once():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    model[1].weight = model[0].weight
    quantize_model(model, 2, method="lsq")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ConfidenceGuidedAnnealing(model, optimizer, 0.1) as annealing:
        masks, before = annealing.masks(), latents(model)["0.weight"]
        free = masks["0.weight"]
        assert torch.equal(free, masks["1.weight"])
        assert len(annealing.mask_gradients()) == 2
        learn(model, optimizer, 1)
        after = latents(model)["0.weight"]
    assert torch.equal(after != before, free)


class TestProducts:
    def model(self):
        attention = QKReparamAttention.from_attention(FusedAttention(), 2)
        return nn.Sequential(attention, nn.Linear(12, 3))

    def test_the_gradient_of_a_product_is_masked_while_it_lasts(self):
        model = self.model()
        attention, x, G = model[0], torch.randn(2, 5, 12), torch.randn(36, 12)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        found = {}
        annealing = ConfidenceGuidedAnnealing(model, optimizer, 0.05)
        for name in ("annealed", "plain"):
            attention.q_weight.grad = None
            (G * attention.products()).sum().backward()
            found[name] = attention.q_weight.grad
            annealing.remove()
        mask = updatable_mask(attention.latent_products(), 2, 0.05)
        assert mask.any()
        for name, gradient in (("annealed", G * mask), ("plain", G)):
            heads = gradient.view(3, 12, 12)
            expected = attention.k_weight.view(3, 4, 12) @ heads.mT
            torch.testing.assert_close(found[name], expected.reshape(12, 12).detach())
        assert attention.quantizer.boundary_range is None
        assert attention(x).isfinite().all()

    @pytest.mark.parametrize("weight", ["q_weight", "k_weight"])
    def test_a_product_whose_weights_join_later_is_masked_from_then_on(self, weight):
        model = self.model()
        attention, x = model[0], torch.randn(2, 5, 12)
        optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
        quantize_model(model, 2, layers="1")
        with ConfidenceGuidedAnnealing(model, optimizer, 0.05):
            model(x)
            assert attention.quantizer.boundary_range is None
            optimizer.add_param_group({"params": [getattr(attention, weight)]})
            found = attention.products()
            assert attention.quantizer.boundary_range == 0.05
            assert torch.equal(dequantized(model)(x), model(x)), "a copy is one all the same"
            found.sum().backward()
            k = attention.k_weight.detach().view(3, 4, 12)
            mask = updatable_mask(attention.latent_products(), 2, 0.05).float().view(3, 12, 12)
            assert 0 < mask.mean() < 1
            torch.testing.assert_close(attention.q_weight.grad.view(3, 4, 12), k @ mask.mT)
        assert attention.quantizer.boundary_range is None
        assert not attention.quantizer._forward_pre_hooks

    def test_a_product_that_joins_is_left_to_whoever_had_it_first(self):
        model = self.model()
        own, other = (torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[0].v, model[1]))
        quantize_model(model, 2)
        with ConfidenceGuidedAnnealing(model, own, 0.05), ConfidenceGuidedAnnealing(model, other, 0.02):
            own.add_param_group({"params": [model[0].q_weight]})
            model(torch.randn(2, 5, 12))
            other.add_param_group({"params": [model[0].k_weight]})
            model(torch.randn(2, 5, 12))
            assert model[0].quantizer.boundary_range == 0.05

    def test_or_not_as_in_the_official_code(self):
        model = self.model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ValueError, match="the optimizer has none of the quantised weights"):
            ConfidenceGuidedAnnealing(model, optimizer, mask_products=False)
        quantize_model(model, 2)
        with ConfidenceGuidedAnnealing(model, optimizer, mask_products=False):
            assert model[0].quantizer.boundary_range is None


class TestBadInput:
    def test_it_is_named(self):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ValueError, match="no quantised weights; call quantize_model"):
            ConfidenceGuidedAnnealing(model, optimizer)
        quantize_model(model, 2)
        for wrong in (-0.1, math.nan, math.inf):
            with pytest.raises(ValueError, match="finite and at least 0"):
                ConfidenceGuidedAnnealing(model, optimizer, wrong)
        with pytest.raises(ValueError, match=r"nothing is named 'fc1'; there are 0.weight, 2.weight, 4.weight"):
            ConfidenceGuidedAnnealing(model, optimizer, layers=["0", "fc1"])
        other = torch.optim.SGD([model[0].bias], lr=0.1)
        with pytest.raises(ValueError, match="the optimizer has none of the quantised weights"):
            ConfidenceGuidedAnnealing(model, other)
        assert not optimizer._optimizer_step_pre_hooks

    def test_what_is_no_optimiser_and_a_second_one(self):
        model = mlp()
        quantize_model(model, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(TypeError, match=r"a torch.optim.Optimizer is expected, got dict"):
            ConfidenceGuidedAnnealing(model, optimizer.state_dict(), 0.01)
        first = ConfidenceGuidedAnnealing(model, optimizer, 0.01, layers=["0", "2"])
        with pytest.raises(ValueError, match=r"2.weight is annealed already on this optimizer.*remove\(\) that first"):
            ConfidenceGuidedAnnealing(model, optimizer, 0.1, layers=["2", "4"])
        ConfidenceGuidedAnnealing(model, optimizer, 0.1, layers="4").remove()
        first.remove()
        ConfidenceGuidedAnnealing(model, optimizer, 0.1).remove()
        assert not optimizer._optimizer_step_pre_hooks

    def test_steps_that_the_optimiser_lacks_are_named(self, recwarn):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        made = quantize_model(model, 3, method="lsq")
        message = r"not their steps, 0.parametrizations.weight.0.step, .*, 4.parametrizations.weight.0.step, which stay"
        with pytest.warns(UserWarning, match=message):
            ConfidenceGuidedAnnealing(model, optimizer).remove()
        made["0.weight"].step.requires_grad_(False)
        optimizer.add_param_group({"params": [made[name].step for name in ("2.weight", "4.weight")]})
        ConfidenceGuidedAnnealing(model, optimizer).remove()
        assert not recwarn.list

    def test_weights_that_became_nan_are_named_before_anything_moves(self):
        model = mlp()
        quantize_model(model, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with ConfidenceGuidedAnnealing(model, optimizer):
            model(torch.randn(8, 6)).square().mean().backward()
            with torch.no_grad():
                model[2].parametrizations.weight.original[0, 0] = math.nan
            before = copy.deepcopy(model.state_dict())
            with pytest.raises(ValueError, match=r"2.weight: .*1 of 45 weights are NaN or inf"):
                optimizer.step()
            after = model.state_dict()
        assert all(torch.equal(after[n].nan_to_num(7.0), before[n].nan_to_num(7.0)) for n in before)

    def test_a_gradient_that_is_nan_does_not_reach_what_is_frozen(self):
        model = mlp()
        quantize_model(model, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        before = latents(model)
        with ConfidenceGuidedAnnealing(model, optimizer, 0.0):
            for weight in quantized_weights(model).values():
                weight.parameter.grad = torch.full_like(weight.parameter, math.nan)
            optimizer.step()
        assert all(torch.equal(w, before[name]) for name, w in latents(model).items())
