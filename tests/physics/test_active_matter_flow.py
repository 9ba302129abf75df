"""Flows and entropy production: identities, estimates, and what is refused."""

import math

import pytest
import torch

from entrokit.physics.active_matter import (
    denoising_loss,
    divergence,
    entropy_production_rate,
    epr_by_coordinate,
    epr_without_score,
    estimate,
    local_epr,
    probability_flow,
    score_matching_loss,
    stationarity,
)

from .active_matter_cases import MATRIX, cubic, float64, linear, normal


def test_the_parts_of_an_entropy_production_add_up():
    x, D = normal(5, 4, 3), float64([0.2, 0.5, 2.0])
    parts = epr_by_coordinate(x, cubic, linear, D)
    flow = probability_flow(cubic, linear, D)(x)
    torch.testing.assert_close(flow, cubic(x) - D * linear(x))
    torch.testing.assert_close(parts, flow**2 / D)
    torch.testing.assert_close(local_epr(x, cubic, linear, D), parts.sum((1, 2)))
    rate = entropy_production_rate(x, cubic, linear, D)
    assert rate.mean.item() == pytest.approx(parts.sum((1, 2)).mean().item())
    assert rate.stderr.item() == pytest.approx(parts.sum((1, 2)).std().item() / math.sqrt(5))


def test_coordinates_without_noise_are_named_or_left_out():
    x, D = normal(5, 3), float64([0.2, 0.0, 2.0])
    for call in (epr_by_coordinate, local_epr, entropy_production_rate):
        with pytest.raises(ValueError, match="1 of 3 coordinates is 0, the first is number 1.*noisy_only"):
            call(x, cubic, linear, D)
    part = epr_by_coordinate(x, cubic, linear, D, noisy_only=True)
    flow = probability_flow(cubic, linear, D)(x)
    torch.testing.assert_close(part, torch.stack([flow[:, 0] ** 2 / 0.2, 0 * flow[:, 1], flow[:, 2] ** 2 / 2], 1))
    torch.testing.assert_close(flow[:, 1], cubic(x)[:, 1])
    with pytest.raises(ValueError, match="3 of 3 coordinates"):
        epr_by_coordinate(x, cubic, linear, 0.0, noisy_only=True)
    with pytest.raises(ValueError, match="needs noise in all"):
        epr_without_score(x, cubic, D)


def test_without_noise_of_positions_propulsions_make_what_the_drift_contracts():
    """E|v_g|² / γ = -E[∇_x·b_x]: of dx = (g - A x) dt in closed form, A."""
    A, gamma = 1.3, 0.5
    cov = float64([[1 / (A * (A + gamma)), 1 / (A + gamma)], [1 / (A + gamma), 1.0]])
    root = torch.linalg.cholesky(2 * cov)
    x = torch.cat([root.mT, -root.mT])  # their covariance is exactly that of the law
    part = epr_by_coordinate(
        x,
        lambda z: torch.stack([z[:, 1] - A * z[:, 0], -gamma * z[:, 1]], 1),
        lambda z: -z @ torch.linalg.inv(cov),
        float64([0.0, gamma]),
        noisy_only=True,
    )
    assert part.sum(1).mean().item() == pytest.approx(A, abs=1e-12)


def test_estimates_say_when_there_is_no_error():
    assert math.isnan(estimate(torch.ones(1, 3)).stderr[0])
    found = estimate(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    assert found.mean.tolist() == [2.0, 2.0]
    assert found.stderr.tolist() == [1.0, 0.0]
    assert set(stationarity(normal(3, 3), cubic, linear, 1.0)) == {"div_v", "v_dot_s", "fisher", "residual"}


NAN_AT_ONE = float64([[0.0, 1.0], [math.nan, 2.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: local_epr(normal(3), linear, linear, 1.0), ValueError, r"points \[B, \*\]"),
        (lambda: local_epr(normal(0, 3), linear, linear, 1.0), ValueError, "at least one"),
        (lambda: local_epr(torch.ones(2, 3, dtype=torch.long), linear, linear, 1.0), ValueError, "floating point"),
        (lambda: local_epr(normal(2, 3).numpy(), linear, linear, 1.0), TypeError, "torch.as_tensor.*ndarray"),
        (lambda: local_epr(NAN_AT_ONE, cubic, cubic, 1.0), ValueError, "not finite in 1 of 2 rows; .* row 1"),
        (lambda: local_epr(normal(2, 3), linear, lambda x: x * math.nan, 1.0), ValueError, "the score is not finite"),
        (lambda: local_epr(normal(2, 3), linear, lambda x: x[:, :2], 1.0), ValueError, r"it came as \[2, 2\]"),
        (lambda: local_epr(normal(2, 3), lambda x: 1.0, linear, 1.0), TypeError, "the drift is a torch.Tensor"),
        (lambda: local_epr(normal(2, 3), linear, linear, torch.ones(2)), ValueError, r"broadcasts to \[3\].* \[2\]"),
        (lambda: local_epr(normal(2, 3), linear, linear, torch.eye(3)), ValueError, "diffusion is one number, or what"),
        (lambda: local_epr(normal(2, 3), linear, linear, -0.5), ValueError, "at least 0 and finite; it has -0.5"),
        (lambda: divergence(linear, normal(2, 3), method="guess"), ValueError, "'exact' or 'hutchinson'"),
        (lambda: divergence(linear, normal(2, 3), method="hutchinson", probes=0), ValueError, "probes: at least 1"),
        (lambda: divergence(linear, normal(2, 3), method="hutchinson", generator=0), TypeError, "torch.Generator"),
        (lambda: denoising_loss(linear, normal(2, 3), 0.1, generator=0), TypeError, "generator: a torch.Generator"),
        (lambda: score_matching_loss(linear, normal(2, 3), lam_pde=1.0), ValueError, "diffusion; give both"),
        (lambda: score_matching_loss(linear, normal(2, 3), linear, 1.0, -1.0), ValueError, "lam_pde must be"),
        (lambda: denoising_loss(linear, normal(2, 3), 0.0), ValueError, "delta must be above 0"),
        (lambda: denoising_loss(linear, normal(2, 3), math.nan), ValueError, "at least 0 and finite"),
    ],
    ids=[
        "flat", "empty", "whole", "numpy", "nan", "nan-score", "shape", "number", "diffusion", "matrix", "negative",
        "method", "probes", "seed", "seeded-denoising", "no-drift", "weight", "no-delta", "nan-delta",
    ],
)  # fmt: skip
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_keep_their_dtype(dtype):
    x = normal(4, 3).to(dtype)
    field = lambda z: z @ MATRIX.to(z).mT  # noqa: E731
    assert local_epr(x, field, field, float64([1.0, 2.0, 3.0])).dtype == dtype
    assert divergence(field, x).dtype == dtype
    assert denoising_loss(field, x, 0.1).dtype == dtype
    assert entropy_production_rate(x, field, field, 1.0).mean.dtype == torch.float64


def test_a_jump_of_the_drift_has_no_derivative():
    """dX = -sign(X) dt + √2 dW is in equilibrium; without the score b² is left of it, as the docstring says."""
    x = torch.distributions.Laplace(0.0, 1.0).sample((100, 1))
    assert float(epr_without_score(x, lambda x: -x.sign(), 1.0).mean) == 1.0
    assert float(entropy_production_rate(x, lambda x: -x.sign(), lambda x: -x.sign(), 1.0).mean) == 0.0
