"""What energies' samplers and residuals say of arguments that are of the right kind and of the wrong size."""

import math
import warnings

import pytest
import torch

from entrokit.generative.energy import (
    EnergyScore,
    fp_residual_shared,
    fp_residual_weak,
    langevin_simulate,
    sample_flow,
    sample_sde,
)
from entrokit.generative.noising import VarianceExploding

from .energy_cases import VP

VE = VarianceExploding()


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sample", [sample_sde, sample_flow])
@pytest.mark.parametrize("scale", [50.0, 2.5, 0.4, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_noise_of_another_scale_is_told(sample, scale, dtype):
    with pytest.warns(UserWarning, match="noise has a root mean square of .*; unit noise is expected") as said:
        sample(lambda x, t: -x, (scale * normal(40, 2)).to(dtype), VP, steps=2)
    assert [told.filename for told in said] == [__file__]


@pytest.mark.parametrize("sample", [sample_sde, sample_flow])
def test_noise_that_chance_may_have_made_is_not(sample):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for noise in (normal(32, 2), 1.5 * normal(40, 2), 50 * normal(31, 2), torch.zeros(0, 2)):
            found = sample(lambda x, t: -x / VE.sigma(t)[:, None] ** 2, noise, VE, steps=2)
            assert found.shape == noise.shape


def energy(dtype=torch.float32):
    torch.manual_seed(0)
    return EnergyScore.mlp(2, (8,)).to(dtype)


FORMS = pytest.mark.parametrize("form", [fp_residual_weak, fp_residual_shared])


@FORMS
@pytest.mark.parametrize(
    ("scale", "dtype", "sigma"),
    [(1.0, torch.float32, 1e-6), (1.0, torch.float64, 1e-15), (1e4, torch.float32, None)],
    ids=["small-sigma", "small-sigma-double", "large-points"],
)
def test_steps_near_the_rounding_of_points_are_told(form, scale, dtype, sigma):
    x = scale * normal(20, 2).to(dtype)
    with pytest.warns(UserWarning, match=r"steps of sigma = .* are near the rounding of points of up to"):
        form(energy(dtype), x, 0.5, VP, sigma=sigma)


@FORMS
def test_steps_above_it_are_not(form):
    x = normal(500, 2)
    eps = torch.finfo(x.dtype).eps * float(x.abs().max())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sigma in (None, 17 * eps):
            assert all(torch.isfinite(part).all() for part in form(energy(), x, 0.5, VP, sigma=sigma))
        form(energy(torch.float64), x.double(), 0.5, VP, sigma=1e-6)


@pytest.mark.parametrize("gamma", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("step", [0.2, 1.0])
def test_a_harmonic_well_is_as_wide_as_the_integrator_makes_it(gamma, step):
    """The recursion's covariance is a fixed point, solved to rounding; drawn chains have it within five errors."""
    kept = math.exp(-gamma * step)
    push, noise = (1 - kept) / gamma, 1 - kept**2
    # (x, v) of one step to the next, of unit mass, stiffness and kT.
    moves = torch.tensor([[1 - step * push, step * kept], [-push, kept]], dtype=torch.float64)
    draws = noise * torch.tensor([[step**2, step], [step, 1.0]], dtype=torch.float64)
    inverse = torch.linalg.inv(torch.eye(4, dtype=torch.float64) - torch.kron(moves, moves))
    covariance = (inverse @ draws.flatten()).reshape(2, 2)
    q = gamma * step / 2 / math.tanh(gamma * step / 2)
    said = q / (1 - step**2 / (4 * q))
    assert float(covariance[0, 0]) == pytest.approx(said, rel=1e-9)
    count = 4000
    start = torch.linalg.cholesky(covariance) @ normal(2, count).double()
    found = langevin_simulate(
        lambda x: -x, start[0][:, None], 20, step, gamma, 1.0, 1.0, every=20, velocity=start[1][:, None],
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert float(found.var()) == pytest.approx(said, rel=5 * math.sqrt(2 / count))
