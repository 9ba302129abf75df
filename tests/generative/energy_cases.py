"""Laws whose energies are known at every time, and the sheet's data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entrokit.generative.energy import EnergyScore, fp_residual, fp_residual_shared, fp_residual_weak
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.noising import Noising, VariancePreserving

VP = VariancePreserving()


def float64(*values):
    return tuple(torch.tensor(v, dtype=torch.float64) for v in values)


WIDE = GaussianMixture(*float64([1.0], [[0.0, 0.0]], [2.0]))
TOY = GaussianMixture(*float64([0.2, 0.8], [[-5.0, -5.0], [5.0, 5.0]], [1.0, 1.0]))
X, T = float64([[1.0, -0.5]], [0.2])
SKEWED = GaussianMixture(*float64([0.35, 0.65], [[-1.0, 0.4, 0.2], [1.5, -0.7, 0.9]], [0.5, 1.3]))


class ExactEnergy:
    """The normalised log-density of a mixture's noised law, one time a row."""

    def __init__(self, law: GaussianMixture, sde: Noising = VP) -> None:
        self.law, self.sde = law, sde

    def log_q(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
        variance = alpha[:, None] ** 2 * self.law.stds**2 + sigma[:, None] ** 2
        squares = (x[:, None] - alpha[:, None, None] * self.law.means).square().sum(-1) / variance
        scale = 0.5 * x.shape[1] * (2 * math.pi * variance).log()
        return (self.law.weights.log() - 0.5 * squares - scale).logsumexp(1)


class Wrong:
    """A Gaussian of variance 1 + t²: no law that the equation has."""

    def log_q(self, x: Tensor, t: Tensor) -> Tensor:
        return -0.5 * x.square().sum(1) / (1 + t**2)


def drawn(count: int, dimensions: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Points and times in [1e-3, 0.99]."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.randn(count, dimensions, dtype=dtype, generator=generator)
    return x, 1e-3 + 0.989 * torch.rand(count, dtype=dtype, generator=generator)


def small(dimensions=2, seed=0, time_range=(0.0, 1.0), hidden=(8, 8)):
    torch.manual_seed(seed)
    return EnergyScore.mlp(dimensions, hidden, time_range).double()


FORMS = {
    "exact": lambda m, x, t, g: fp_residual(m, x, t, VP),
    "exact, fd": lambda m, x, t, g: fp_residual(m, x, t, VP, dt="fd"),
    "probes": lambda m, x, t, g: fp_residual(m, x, t, VP, div=2, generator=g),
    "weak": lambda m, x, t, g: fp_residual_weak(m, x, t, VP, sigma=1e-3, generator=g)[0],
    "weak, autograd": lambda m, x, t, g: fp_residual_weak(m, x, t, VP, sigma=1e-3, dt="autograd", generator=g)[1],
    "shared": lambda m, x, t, g: fp_residual_shared(m, x, t, VP, sigma=1e-3, generator=g)[0],
}
