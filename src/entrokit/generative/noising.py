"""How data become noise: ``dx = a(t) x dt + g(t) dW``, so ``x_t = alpha(t) x_0 + sigma(t) noise``, t from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from entrokit.groups import as_float

from .checks import check_tensors

__all__ = ["Noising", "VarianceExploding", "VariancePreserving"]


class Noising(Protocol):
    """A linear noising process. Every method takes times ``[...]`` in [0, 1] and returns floats of their shape."""

    def alpha(self, t: Tensor) -> Tensor:
        """What multiplies the data."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""
        ...

    def drift(self, t: Tensor) -> Tensor:
        """``a(t)``, the derivative of ``log alpha``."""
        ...

    def squared_diffusion(self, t: Tensor) -> Tensor:
        """``g(t) ** 2``."""
        ...


@dataclass(frozen=True)
class VariancePreserving:
    """``a = -beta / 2``, ``g ** 2 = beta``, ``beta`` rising linearly: Song et al. (arXiv 2011.13456), their VP SDE.

    Raises:
        ValueError: rates that are not ``0 < beta_min <= beta_max``; a time outside [0, 1].
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < float("inf"):
            raise ValueError(f"0 < beta_min <= beta_max is expected; they are {self.beta_min} and {self.beta_max}")

    def beta(self, t: Tensor) -> Tensor:
        """The rate of noising, ``beta_min`` at 0 and ``beta_max`` at 1."""
        return self.beta_min + _within(t) * (self.beta_max - self.beta_min)

    def integrated_beta(self, t: Tensor) -> Tensor:
        """The integral of ``beta`` from 0 to t: the clock in which noising is even."""
        t = _within(t)
        return self.beta_min * t + 0.5 * t**2 * (self.beta_max - self.beta_min)

    def alpha(self, t: Tensor) -> Tensor:
        """What multiplies the data."""
        return (-0.5 * self.integrated_beta(t)).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise, exact near t = 0 too."""
        return (-torch.expm1(-self.integrated_beta(t))).sqrt()

    def drift(self, t: Tensor) -> Tensor:
        """``a(t)``."""
        return -0.5 * self.beta(t)

    def squared_diffusion(self, t: Tensor) -> Tensor:
        """``g(t) ** 2``."""
        return self.beta(t)


@dataclass(frozen=True)
class VarianceExploding:
    """``a = 0``, ``sigma`` geometric from ``sigma_min`` to ``sigma_max``: Song et al. (arXiv 2011.13456), their VE SDE.

    Raises:
        ValueError: standard deviations that are not ``0 < sigma_min < sigma_max``; a time outside [0, 1].
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < float("inf"):
            raise ValueError(f"0 < sigma_min < sigma_max is expected; they are {self.sigma_min} and {self.sigma_max}")

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(_within(t))

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** _within(t)

    def drift(self, t: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(_within(t))

    def squared_diffusion(self, t: Tensor) -> Tensor:
        """The derivative of ``sigma ** 2``."""
        return 2 * math.log(self.sigma_max / self.sigma_min) * self.sigma(t) ** 2


def _within(t: Tensor) -> Tensor:
    """Times as floats; raises an error unless they lie in [0, 1]."""
    check_tensors(t=t)
    outside = ~((t >= 0) & (t <= 1))
    if bool(outside.any()):
        raise ValueError(
            f"times lie in [0, 1], data at 0 and noise at 1; there is one of {float(t[outside].flatten()[0])}"
        )
    return as_float(t)
