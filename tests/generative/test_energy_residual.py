"""The Fokker-Planck residual: the sheet's numbers, its estimates' means, their gradients."""

import math

import numpy as np
import pytest
import torch

from entrokit.generative.energy import (
    fp_residual,
    fp_residual_shared,
    fp_residual_weak,
    residual_along,
    score_and_residuals,
)
from entrokit.generative.energy.residual import BACKWARD, FORWARD, residual_of
from entrokit.generative.noising import VarianceExploding

from .energy_cases import FORMS, SKEWED, TOY, VP, WIDE, ExactEnergy, T, Wrong, X, drawn, float64, small


def gradients_at(x, t, law):
    """Score, its divergence and ∂_t log p of a mixture's noised law."""
    energy = ExactEnergy(law)
    x, t = x.clone().requires_grad_(), t.clone().requires_grad_()
    score, moved = torch.autograd.grad(energy.log_q(x, t).sum(), (x, t), create_graph=True)
    divergence = sum(torch.autograd.grad(score[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1]))
    return score.detach(), divergence, moved.detach()


def test_the_sheets_gaussian():
    """Sheet scoremd, check 1."""
    alpha, sigma = float(VP.alpha(T)), float(VP.sigma(T))
    assert (float(VP.beta(T)), alpha, sigma) == pytest.approx((4.08, 0.811395, 0.584498), abs=5e-7)
    assert 4 * alpha**2 + sigma**2 == pytest.approx(2.975087, abs=5e-7)
    score, divergence, moved = gradients_at(X, T, WIDE)
    assert score.flatten().tolist() == pytest.approx([-0.336125, 0.168062], abs=5e-7)
    assert moved.item() == pytest.approx(2.139592, abs=5e-7)
    assert residual_of(X, T, VP, score, divergence, torch.zeros(1)).item() == pytest.approx(2.139592, abs=5e-7)
    assert fp_residual(ExactEnergy(WIDE), X, T, VP).item() == pytest.approx(0.0, abs=1e-12)


def test_the_sheets_weak_residual():
    """Sheet scoremd, check 2."""
    v = 1e-4 * torch.tensor([[[0.8, -0.3]]], dtype=torch.float64)
    found = residual_along(ExactEnergy(WIDE), X, T, VP, v, sigma=1e-4, dt="autograd")
    # A difference of scores of size 0.3 over 2e-4 loses 13 bits of float64, times beta / 2.
    assert found.item() == pytest.approx(0.870832, abs=5e-7)
    assert found.item() == pytest.approx(4.08 / (2 * 2.975087) * (2 - 0.73), abs=5e-7)


def test_the_sheets_differences_in_time():
    """Sheet scoremd, check 2: 2.139500 by differences, 2.139505 exactly, at x + v."""
    at = X + 1e-4 * torch.tensor([[0.8, -0.3]], dtype=torch.float64)
    zero = torch.zeros(1, 1, 2, dtype=torch.float64)
    exact, other = (
        residual_along(ExactEnergy(WIDE), at, T, VP, zero, sigma=1.0, dt=dt).item() for dt in ("autograd", "fd")
    )
    _, _, moved = gradients_at(at, T, WIDE)
    assert moved.item() == pytest.approx(2.139505, abs=5e-7)
    assert moved.item() - (other - exact) == pytest.approx(2.139500, abs=5e-7)


@pytest.mark.parametrize("law", [TOY, SKEWED], ids=["toy", "skewed"])
@pytest.mark.parametrize("sde", [VP, VarianceExploding(0.05, 8.0)], ids=["vp", "ve"])
def test_exact_laws_obey_the_equation(law, sde):
    """Sheet scoremd, check 3."""
    x, t = drawn(64, law.dimensions, seed=1)
    residual = fp_residual(ExactEnergy(law, sde), x, t, sde)
    _, _, moved = gradients_at(x, t, law)
    assert residual.abs().max() < 1e-5 * max(1.0, float(moved.abs().max()) * 1e-5)


def test_a_law_that_does_not_obey_has_the_residual_of_its_formula():
    x, t = drawn(20, 3, seed=2)
    squares, v = x.square().sum(1), 1 + t**2
    by_hand = 0.5 * VP.beta(t) * (-3 / v + squares / v**2 - squares / v + 3) - squares * t / v**2
    torch.testing.assert_close(fp_residual(Wrong(), x, t, VP), by_hand, rtol=1e-10, atol=1e-10)


def test_a_number_of_each_time_moves_the_residual_by_its_derivative():
    class Shifted(Wrong):
        def log_q(self, x, t):
            return super().log_q(x, t) + 3 * t**2

    x, t = drawn(10, 2, seed=3)
    moved = fp_residual(Shifted(), x, t, VP) - fp_residual(Wrong(), x, t, VP)
    torch.testing.assert_close(moved, -6 * t, rtol=1e-10, atol=1e-10)


def test_differences_in_time_are_of_second_order_and_exact_for_squares():
    """The third derivative alone is left, times BACKWARD * FORWARD / 6."""

    class Cubic:
        def log_q(self, x, t):
            return 0 * x.sum(1) + t**3

    x, t = drawn(10, 2, seed=4)
    gap = fp_residual(Cubic(), x, t, VP, dt="autograd") - fp_residual(Cubic(), x, t, VP, dt="fd")
    # Rounding: 1 / 5e-4 of float64's eps, with residuals up to 30.
    torch.testing.assert_close(gap, torch.full_like(gap, BACKWARD * FORWARD), rtol=0, atol=1e-11)


@pytest.mark.parametrize("form", [fp_residual_weak, fp_residual_shared], ids=["weak", "shared"])
def test_the_product_has_the_squares_mean_and_a_square_has_not(form):
    x, t = float64([[0.9, -1.4, 0.3]], [0.6])
    truth = fp_residual(SKEWED_WRONG, x, t, VP).item()
    count = 40_000
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        first, second = form(SKEWED_WRONG, x.expand(count, -1), t.expand(count), VP, generator=generator)
    product = first * second
    error = float(product.std()) / math.sqrt(count)
    assert product.mean().item() == pytest.approx(truth**2, abs=5 * error)
    assert first.mean().item() == pytest.approx(truth, abs=5 * float(first.std()) / math.sqrt(count))
    assert second.mean().item() == pytest.approx(truth, abs=5 * float(second.std()) / math.sqrt(count))
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1].item()) < 5 / math.sqrt(count)
    # What a single estimate squared would add, its variance, is seen at this count.
    assert first.square().mean().item() - truth**2 > 10 * error


class Tilted:
    """A curved energy whose Jacobian is far from diagonal, so that no probe gives its trace alone."""

    def log_q(self, x, t):
        a, b, c = x.unbind(1)
        return -0.5 * (1 + t) * (a**2 + b**2 + c**2) + 0.8 * a * b - 0.5 * b * c + 0.1 * (a * c).sin()


SKEWED_WRONG = Tilted()


def test_shared_steps_leave_no_variance_where_curvature_is_alike_in_all_directions():
    """The weak form's normal steps have beta / (2V) · (D - |v|²/sigma²) there (sheet, check 2)."""
    first, second = fp_residual_shared(ExactEnergy(WIDE), X, T, VP, generator=torch.Generator().manual_seed(0))
    assert first.item() == pytest.approx(0.0, abs=1e-7)
    assert second.item() == pytest.approx(0.0, abs=1e-7)


def _seeded():
    return torch.Generator().manual_seed(0)


def test_probes_mean_is_the_divergence():
    x, t = drawn(1, 3, seed=6)
    count = 4000
    exact = fp_residual(Tilted(), x, t, VP).item()
    assert torch.equal(*(fp_residual(Tilted(), x, t, VP, div=n, generator=_seeded()) for n in (2, np.int64(2))))
    probed, single = (
        fp_residual(
            Tilted(), x.expand(count, -1), t.expand(count), VP, div=n, generator=torch.Generator().manual_seed(6 + n)
        ).detach()
        for n in (2, 1)
    )
    assert probed.mean().item() == pytest.approx(exact, abs=5 * float(probed.std()) / math.sqrt(count))
    # Variances of sample variances of this count: within 15 %.
    assert float(probed.var() / single.var()) == pytest.approx(0.5, rel=0.15)


def test_scores_of_the_one_pass_are_the_models():
    model = small()
    x, t = drawn(9, 2, seed=9)
    score, first, second = score_and_residuals(model, x, t, VP, rows=4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(score, model.score(x, t), rtol=1e-12, atol=1e-12)
    assert first.shape == second.shape == (4,)
    alone = fp_residual_shared(model, x[:4], t[:4], VP, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.stack(alone), torch.stack([first, second]), rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("form", list(FORMS))
def test_gradients_are_those_of_float64_differences(form):
    model, (x, t) = small(), drawn(5, 2, seed=10)

    def value():
        return FORMS[form](model, x, t, torch.Generator().manual_seed(2)).square().mean()

    names, own = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(value(), own, allow_unused=True)
    for name, parameter, gradient in zip(names, own, found, strict=True):
        place = (0,) * parameter.ndim
        step = 1e-5
        with torch.no_grad():
            parameter[place] += step
            ahead = value()
            parameter[place] -= 2 * step
            behind = value()
            parameter[place] += step
        # Differences of a step h leave h² of the third derivative, and eps / h of values of size 10, times 1 / sigma
        # where scores are subtracted.
        expected = 0.0 if gradient is None else gradient[place].item()
        assert expected == pytest.approx((ahead - behind).item() / (2 * step), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("form", list(FORMS))
def test_without_gradients_numbers_are_the_same_and_have_none(form):
    model, (x, t) = small(), drawn(5, 2, seed=11)
    with_graph = FORMS[form](model, x, t, torch.Generator().manual_seed(3))
    assert with_graph.requires_grad
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            found = FORMS[form](model, x.clone(), t.clone(), torch.Generator().manual_seed(3))
        assert not found.requires_grad
        # Kernels differ by roundings, which sigma = 1e-3 divides.
        torch.testing.assert_close(found, with_graph.detach(), rtol=1e-9, atol=1e-9)


def test_points_of_images_are_flattened():
    class Pictures:
        def log_q(self, x, t):
            return Wrong().log_q(x.flatten(1), t)

    x, t = drawn(3, 12, seed=12)
    pictures = x.reshape(3, 3, 2, 2)
    torch.testing.assert_close(fp_residual(Pictures(), pictures, t, VP), fp_residual(Wrong(), x, t, VP))
    for form in (fp_residual_weak, fp_residual_shared):
        own, flat = (
            form(m, p, t, VP, generator=torch.Generator().manual_seed(4))[0]
            for m, p in ((Pictures(), pictures), (Wrong(), x))
        )
        torch.testing.assert_close(own, flat)


@pytest.mark.parametrize("form", [fp_residual_weak, fp_residual_shared], ids=["weak", "shared"])
def test_steps_are_as_wide_as_the_dtype_needs(form):
    x, t = drawn(50, 3, seed=13)
    for dtype, sigma in ((torch.float32, 1e-3), (torch.float64, 1e-4)):
        default, named = (
            form(Wrong(), x.to(dtype), t.to(dtype), VP, generator=torch.Generator().manual_seed(6), **own)
            for own in ({}, {"sigma": sigma})
        )
        assert torch.equal(default[0], named[0])
        assert torch.equal(default[1], named[1])


def test_float32_is_off_by_no_more_than_its_rounding():
    """Of steps of 1e-3; scores are wrong by eps of their size and of the points', log q by eps of its."""
    x, t = (v.float() for v in drawn(200, 3, seed=14))
    generator = torch.Generator().manual_seed(7)
    narrow, _ = fp_residual_shared(Wrong(), x, t, VP, generator=generator)
    generator = torch.Generator().manual_seed(7)
    wide, _ = fp_residual_shared(Wrong(), x.double(), t.double(), VP, sigma=1e-3, generator=generator)
    eps = torch.finfo(torch.float32).eps
    # A score is x over a number: three roundings, and those of x + v and of the difference.
    spread = 0.5 * VP.beta(t) * 8 * eps * x.abs().sum(1) / 1e-3
    rest = 32 * eps * (VP.beta(t) * (3 + x.square().sum(1)) + x.square().sum(1))
    assert ((narrow - wide).abs() <= spread + rest).all()
