"""How data become noise: ``dx = a(t) x dt + g(t) dW``, so ``x_t = alpha(t) x_0 + sigma(t) noise``, t from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from entrokit.groups import as_float

from .checks import check_tensors

__all__ = ["LinearExploding", "Noising", "TabulatedPreserving", "VarianceExploding", "VariancePreserving"]


@runtime_checkable
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


@dataclass(frozen=True)
class LinearExploding:
    """``a = 0``, ``sigma = sigma_max t``: Karras et al. (arXiv 2206.00364), their EDM, in units of its largest noise.

    Raises:
        ValueError: a standard deviation that is not finite and above 0; a time outside [0, 1].
    """

    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_max < float("inf"):
            raise ValueError(f"sigma_max must be finite and above 0; it is {self.sigma_max}")

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(_within(t))

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""
        return self.sigma_max * _within(t)

    def drift(self, t: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(_within(t))

    def squared_diffusion(self, t: Tensor) -> Tensor:
        """The derivative of ``sigma ** 2``."""
        return 2 * self.sigma_max**2 * _within(t)


@dataclass(frozen=True)
class TabulatedPreserving:
    """A variance preserving process of N training steps, the s-th (from 0) at ``t = (s + 1) / N``; data at 0.

    Between them ``log alpha`` is a straight line, so that ``a`` and ``g ** 2`` are constant over a step: those of the
    step that ends at t.

    Args:
        alphas_cumprod: ``[N]``, the squares of alpha at the training steps: falling, in (0, 1).

    Raises:
        TypeError: a table that is no tensor.
        ValueError: a table that is not as said; a time outside [0, 1].
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        table = self.alphas_cumprod
        check_tensors(alphas_cumprod=table)
        if table.ndim != 1 or not len(table):
            raise ValueError(f"alphas_cumprod is [N]; its shape is {list(table.shape)}")
        if bool(table[-1] == 0):
            raise ValueError(
                f"alphas_cumprod ends in 0 at training step {len(table) - 1}: nothing of the data is left there (zero "
                f"terminal SNR), and no score tells the way back. Leave that step out: take alphas_cumprod[:-1]"
            )
        outside = (~((table > 0) & (table < 1))).nonzero()
        if len(outside):
            i = int(outside[0])
            raise ValueError(f"alphas_cumprod lies in (0, 1); at training step {i} it is {float(table[i]):g}")
        rising = (table[1:] >= table[:-1]).nonzero()
        if len(rising):
            i = int(rising[0]) + 1
            ends = f"{float(table[i]):g}, after {float(table[i - 1]):g}"
            raise ValueError(f"alphas_cumprod falls from data to noise; at training step {i} it is {ends}")

    def alpha(self, t: Tensor) -> Tensor:
        """What multiplies the data."""
        return (0.5 * self._log_square(t)).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""
        return (-torch.expm1(self._log_square(t))).sqrt()

    def drift(self, t: Tensor) -> Tensor:
        """``a(t)``."""
        t = _within(t)
        knots, step = self._knots(t), self._step(t)
        return 0.5 * len(self.alphas_cumprod) * (knots[step + 1] - knots[step])

    def squared_diffusion(self, t: Tensor) -> Tensor:
        """``g(t) ** 2``."""
        return -2 * self.drift(t)

    def _log_square(self, t: Tensor) -> Tensor:
        t = _within(t)
        knots, step = self._knots(t), self._step(t)
        part = len(self.alphas_cumprod) * t - step
        return knots[step] + part * (knots[step + 1] - knots[step])

    def _knots(self, t: Tensor) -> Tensor:
        table = self.alphas_cumprod.to(dtype=t.dtype, device=t.device)
        return torch.cat([table.new_zeros(1), table.log()])

    def _step(self, t: Tensor) -> Tensor:
        # A time of float32 may lie a rounding behind the training step that it stands for.
        place = len(self.alphas_cumprod) * t - 1e-3
        return place.ceil().long().sub(1).clamp(0, len(self.alphas_cumprod) - 1)


def check_noising(name: str, noising: object) -> None:
    """Raises a TypeError unless the object has a noising process's methods; a class has them, and is none."""
    if isinstance(noising, type) or not isinstance(noising, Noising):
        what = f"the class {noising.__name__} itself" if isinstance(noising, type) else f"a {type(noising).__name__}"
        hint = ": feynman_kac.scheduler_noising(scheduler) makes one of it" if hasattr(noising, "timesteps") else ""
        raise TypeError(f"{name} must be a noising process, such as VariancePreserving(); it is {what}{hint}")


def check_same_noising(name: str, found: Noising, expected: Noising) -> None:
    """Raises a ValueError where log(α² / σ²) differ by more than 0.2 nats: a sampler's process from its score's.

    A tabulated process and the continuous one that it was made from differ by less.
    """
    for t in torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.0], dtype=torch.float64):
        ratios = [float(2 * (of.alpha(t).log() - of.sigma(t).log())) for of in (found, expected)]
        if not abs(ratios[0] - ratios[1]) < 0.2:
            raise ValueError(
                f"{name} is of another noising process than the sampler: at t = {float(t):g} log(α² / σ²) is "
                f"{ratios[0]:.2f} under the score's {type(found).__name__} and {ratios[1]:.2f} under "
                f"{type(expected).__name__}; all scores and the sampler need one process"
            )


def _within(t: Tensor) -> Tensor:
    """Times as floats; raises an error unless they lie in [0, 1]."""
    check_tensors(t=t)
    outside = ~((t >= 0) & (t <= 1))
    if bool(outside.any()):
        raise ValueError(
            f"times lie in [0, 1], data at 0 and noise at 1; there is one of {float(t[outside].flatten()[0])}"
        )
    return as_float(t)
