"""Gaussian samplers: one whose mean moves, one whose widths do too, and one with correlations.

``floor`` is the least standard deviation that a fit leaves: an elite of a single draw has none of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .protocol import mixed, normalised, parameter, weighted_mean

_HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class ShiftedGaussian:
    """Independent Gaussians of means ``mean`` ``[*E]`` and standard deviations ``std`` that stay: fits move the mean.

    The usual family for rare events: likelihood ratios of widths that are estimated too degenerate soon.
    """

    mean: Any
    std: Any = 1.0

    def __post_init__(self) -> None:
        _widths(self)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return _draw(self.mean, self.std, n, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        return _log_density(x, self.mean, self.std)

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> ShiftedGaussian:
        return ShiftedGaussian(mixed(self.mean, weighted_mean(x, normalised(log_weights)), smoothing), self.std)


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """Independent Gaussians of means ``mean`` and standard deviations ``std``, ``[*E]`` each; both are fitted."""

    mean: Any
    std: Any
    floor: float = 1e-12

    def __post_init__(self) -> None:
        _widths(self)
        _check_floor(self)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return _draw(self.mean, self.std, n, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        return _log_density(x, self.mean, self.std)

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> DiagonalGaussian:
        weights = normalised(log_weights)
        mean = weighted_mean(x, weights)
        std = weighted_mean((x - mean).square(), weights).sqrt()
        return DiagonalGaussian(
            mixed(self.mean, mean, smoothing), mixed(self.std, std, smoothing).clamp(min=self.floor), self.floor
        )


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian in d dimensions of mean ``mean`` ``[d]`` and covariance ``covariance`` ``[d, d]``; both are fitted.

    An elite of fewer than d + 1 draws has a singular covariance: along its null directions the width is what smoothing
    leaves of the old one, and no less than ``floor``.
    """

    mean: Any
    covariance: Any
    floor: float = 1e-12

    def __post_init__(self) -> None:
        mean, covariance = parameter("Gaussian.mean", self.mean), parameter("Gaussian.covariance", self.covariance)
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise ValueError(
                f"Gaussian: needs a mean [d] and a covariance [d, d], got {list(mean.shape)} and "
                f"{list(covariance.shape)}"
            )
        if not bool((covariance - covariance.T).abs().max() <= 1e-6 * covariance.abs().max()):
            raise ValueError("Gaussian.covariance must be symmetric")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", 0.5 * (covariance + covariance.T).to(mean))
        _check_floor(self)
        variances = torch.linalg.eigvalsh(self.covariance)
        # A fit's may be singular, and rounding makes a 0 negative.
        if variances[0] < -1e-6 * variances[-1].abs():
            raise ValueError(
                f"Gaussian.covariance must have no negative eigenvalue, its least is {float(variances[0]):.3g}"
            )

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """Variances ``[d]`` along orthonormal directions, the columns of ``[d, d]``."""
        variances, directions = torch.linalg.eigh(self.covariance)
        # Below the rounding of the largest, an eigenvalue is noise of either sign.
        least = max(self.floor**2, float(variances[-1]) * torch.finfo(variances.dtype).eps)
        return variances.clamp(min=least), directions

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        variances, directions = self._axes
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        drawn: Tensor = self.mean + (noise * variances.sqrt()) @ directions.T
        return drawn

    def log_prob(self, x: Tensor) -> Tensor:
        variances, directions = self._axes
        return _log_density((x - self.mean) @ directions, torch.zeros_like(self.mean), variances.sqrt())

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> Gaussian:
        weights = normalised(log_weights)
        mean = weighted_mean(x, weights)
        apart = (x - mean) * weights.to(x.dtype).sqrt()[:, None]
        return Gaussian(
            mixed(self.mean, mean, smoothing), mixed(self.covariance, apart.T @ apart, smoothing), self.floor
        )


def _widths(law: ShiftedGaussian | DiagonalGaussian) -> None:
    """Makes mean and std tensors of one shape, in place."""
    name = type(law).__name__
    mean, std = parameter(f"{name}.mean", law.mean), parameter(f"{name}.std", law.std)
    if not bool((std > 0).all()):
        raise ValueError(f"{name}.std must be above 0, got {law.std}")
    if std.ndim and std.shape != mean.shape:
        raise ValueError(f"{name}: std is a number or has the shape of mean, {list(mean.shape)}; got {list(std.shape)}")
    object.__setattr__(law, "mean", mean)
    object.__setattr__(law, "std", std.to(mean).expand(mean.shape))


def _check_floor(law: DiagonalGaussian | Gaussian) -> None:
    if not 0.0 < law.floor < math.inf:
        raise ValueError(f"{type(law).__name__}.floor must be above 0, got {law.floor}")


def _draw(mean: Tensor, std: Tensor, n: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(n, *mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return mean + std * noise


def _log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    each = -0.5 * ((x - mean) / std).square() - std.log() - _HALF_LOG_TAU
    return each.reshape(len(x), -1).sum(1)
