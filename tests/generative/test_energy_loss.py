"""Losses: their formulas, their gradients."""

import pytest
import torch

from entrokit.generative.energy import (
    FokkerPlanckRegularizer,
    denoising_loss,
    equal_weight,
    fp_residual_shared,
    fp_residual_weak,
    training_loss,
)

from .energy_cases import TOY, VP, ExactEnergy, Wrong, drawn, float64, small


def test_the_sheets_weights():
    """Sheet scoremd, check 5."""
    t = torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64)
    assert equal_weight(t).tolist() == pytest.approx([1.666667, 1.666667, 0.714286], abs=5e-7)
    for midpoint, (low, high) in ((0.3, (0.0, 1.0)), (0.03, (0.0, 0.1)), (0.35, (0.1, 0.6)), (0.8, (0.6, 1.0))):
        below, above = ((a + b) / 2 for a, b in ((low, midpoint), (midpoint, high)))
        weights = equal_weight(torch.tensor([below, above]), midpoint, (low, high))
        halves = weights * torch.tensor([midpoint - low, high - midpoint]) / (high - low)
        assert halves.tolist() == pytest.approx([0.5, 0.5], rel=1e-5)


def test_denoising_is_least_for_the_exact_score():
    law = ExactEnergy(TOY)

    def exact(x, t):
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(law.log_q(x, t).sum(), x)[0]

    x0 = TOY.sample(4000, torch.Generator().manual_seed(0))
    t = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own, less, more = (
        denoising_loss(lambda x, t, f=f: f * exact(x, t), x0, t, VP, generator=torch.Generator().manual_seed(2))
        for f in (1.0, 0.8, 1.2)
    )
    assert own < less
    assert own < more


def test_denoising_is_its_formula():
    x0, t = drawn(6, 2, seed=2)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    alpha, sigma = VP.alpha(t)[:, None], VP.sigma(t)[:, None]
    x = alpha * x0 + sigma * noise
    by_hand = (equal_weight(t) * (noise - sigma * torch.tanh(x)).square().mean(1)).mean()
    found = denoising_loss(lambda x, t: -torch.tanh(x), x0, t, VP, weight=equal_weight, generator=generator)
    torch.testing.assert_close(found, by_hand)


@pytest.mark.parametrize("form", ["weak", "shared"])
def test_the_penalty_is_its_formula(form):
    x, t = drawn(7, 3, seed=4)
    penalty = FokkerPlanckRegularizer(0.2, equal_weight, form, share=0.5)
    found = penalty(Wrong(), x, t, VP, torch.Generator().manual_seed(5))
    estimate = fp_residual_weak if form == "weak" else fp_residual_shared
    first, second = estimate(Wrong(), x[:4], t[:4], VP, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found, 0.2 * (equal_weight(t[:4]) * first * second / 9).mean())
    assert FokkerPlanckRegularizer(0.1, form=form)(ExactEnergy(TOY), *drawn(3, 2, seed=5), VP).shape == ()


def test_times_at_the_ends_are_moved_inside_for_differences():
    x, _ = drawn(2, 2, seed=6)
    ends, inside = float64([1e-5, 1.0], [1e-3, 1 - 5e-4])
    penalty = FokkerPlanckRegularizer(1.0, form="weak")
    found, expected = (penalty(Wrong(), x, t, VP, torch.Generator().manual_seed(0)) for t in (ends, inside))
    assert torch.equal(found, expected)


def test_times_that_were_moved_are_inside_in_float32_too():
    """Of which a border, 1e-3 added and taken away again, may be short of itself."""
    penalty = FokkerPlanckRegularizer(1.0, form="weak")
    for low in torch.linspace(0.01, 0.9, 60).tolist():
        model = small(time_range=(low, low + 0.05), hidden=(2,)).float()
        assert penalty(model, torch.zeros(2, 2), torch.tensor([low, low + 0.05]), VP).isfinite()


@pytest.mark.parametrize("form", ["weak", "shared"])
def test_training_descends_the_sum_of_both(form):
    model, (x0, t) = small(), drawn(8, 2, seed=7)
    penalty = FokkerPlanckRegularizer(1e-3, equal_weight, form, share=0.4)
    loss = training_loss(model, x0, t, VP, penalty, weight=equal_weight, generator=torch.Generator().manual_seed(8))
    generator = torch.Generator().manual_seed(8)
    noise = torch.randn(8, 2, dtype=torch.float64, generator=generator)
    x = VP.alpha(t)[:, None] * x0 + VP.sigma(t)[:, None] * noise
    denoising = denoising_loss(model, x0, t, VP, weight=equal_weight, generator=torch.Generator().manual_seed(8))
    penalised = penalty(model, x, t, VP, generator)
    torch.testing.assert_close(loss.denoising, denoising.detach())
    torch.testing.assert_close(loss.fokker_planck, penalised.detach(), rtol=1e-6, atol=1e-9)
    parameters = list(model.parameters())[:-1]
    own = torch.autograd.grad(loss.total, parameters)
    both = torch.autograd.grad(denoising + penalised, parameters)
    for a, b in zip(own, both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalty", [None, FokkerPlanckRegularizer(0.0)], ids=["none", "alpha 0"])
def test_without_a_penalty_it_is_denoising(penalty):
    model, (x0, t) = small(), drawn(8, 2, seed=9)
    loss = training_loss(model, x0, t, VP, penalty, generator=torch.Generator().manual_seed(1))
    plain = denoising_loss(model, x0, t, VP, generator=torch.Generator().manual_seed(1))
    assert loss.total.item() == loss.denoising.item() == plain.item()
    assert loss.fokker_planck.item() == 0


def test_losses_are_measured_without_gradients_too():
    model, (x0, t) = small(), drawn(8, 2, seed=17)
    for penalty in (None, FokkerPlanckRegularizer(1e-3), FokkerPlanckRegularizer(1e-3, form="weak")):
        with torch.no_grad():
            off = training_loss(model, x0, t, VP, penalty, generator=torch.Generator().manual_seed(0))
        on = training_loss(model, x0, t, VP, penalty, generator=torch.Generator().manual_seed(0))
        assert not off.total.requires_grad
        torch.testing.assert_close(off.total, on.total.detach())


def test_images_train_as_their_pixels_do():
    class Pixels:
        def log_q(self, x, t):
            return Wrong().log_q(x.flatten(1), t)

    x0, t = drawn(5, 12, seed=23)
    penalty = FokkerPlanckRegularizer(1e-2, form="shared")
    own, flat = (
        training_loss(m, x, t, VP, penalty, generator=torch.Generator().manual_seed(0))
        for m, x in ((Pixels(), x0.reshape(5, 3, 2, 2)), (Wrong(), x0))
    )
    torch.testing.assert_close(own.denoising, flat.denoising)
    torch.testing.assert_close(own.fokker_planck, flat.fokker_planck)


def test_a_penalty_of_0_asks_for_no_energy():
    x0, t = drawn(5, 2, seed=24)
    loss = training_loss(lambda x, t: -x, x0, t, VP, FokkerPlanckRegularizer(0.0))
    assert loss.fokker_planck == 0
