"""Gaussian mixtures, whose noised laws and scores are known exactly: what generative methods are held to.

`torch.distributions.MixtureSameFamily` samples from the global generator and knows no score; this is the closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import check_tensors
from .noising import Noising, check_noising

__all__ = ["GaussianMixture", "MixtureScore"]


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of K isotropic Gaussians in D dimensions.

    Args:
        weights: [K], each above 0, sum 1.
        means: [K, D], floating point, as all are.
        stds: [K], each above 0.

    Raises:
        TypeError: something that is no tensor.
        ValueError: shapes that do not fit, whole numbers, weights that are no distribution, a standard deviation that
            is not above 0.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor

    def __post_init__(self) -> None:
        check_tensors(weights=self.weights, means=self.means, stds=self.stds)
        if self.means.ndim != 2 or not self.weights.shape == self.stds.shape == self.means.shape[:1] != (0,):
            shapes = ", ".join(str(list(t.shape)) for t in (self.weights, self.means, self.stds))
            raise ValueError(
                f"weights [K], means [K, D] and stds [K] are expected with K >= 1; their shapes are {shapes}"
            )
        if not all(x.is_floating_point() for x in (self.weights, self.means, self.stds)):
            raise ValueError("weights, means and stds are floating point")
        if not bool((self.weights > 0).all()) or abs(float(self.weights.sum()) - 1) > 1e-5:
            raise ValueError(f"weights must be above 0 and sum to 1; they are {self.weights.tolist()}")
        if not bool((self.stds > 0).all() & self.stds.isfinite().all() & self.means.isfinite().all()):
            raise ValueError("means must be finite, and stds finite and above 0")

    @classmethod
    def circle(
        cls, modes: int = 8, radius: float = 4.0, std: float = 0.3, dtype: torch.dtype | None = None
    ) -> GaussianMixture:
        """Equal modes on a circle in two dimensions, the first at (radius, 0); ``modes`` at least 1."""
        if modes < 1:
            raise ValueError(f"modes is at least 1; it is {modes}")
        angles = torch.arange(modes, dtype=dtype or torch.get_default_dtype()) * (2 * math.pi / modes)
        return cls(
            torch.full_like(angles, 1 / modes),
            radius * torch.stack([angles.cos(), angles.sin()], 1),
            torch.full_like(angles, std),
        )

    @property
    def dimensions(self) -> int:
        """D."""
        return self.means.shape[1]

    def noised(self, alpha: float, sigma: float) -> GaussianMixture:
        """The law of ``alpha * x + sigma * noise``, x of this law and the noise standard normal."""
        return GaussianMixture(self.weights, alpha * self.means, (alpha**2 * self.stds**2 + sigma**2).sqrt())

    def noised_by(self, noising: Noising, t: float) -> GaussianMixture:
        """The law at time t of a noising process that starts from this one."""
        at = torch.tensor(t, dtype=torch.float64)
        return self.noised(float(noising.alpha(at)), float(noising.sigma(at)))

    def score_under(self, noising: Noising) -> MixtureScore:
        """``score(x [B, D], t [B]) -> [B, D]`` of this law as data; all times of a call are the same.

        Raises:
            TypeError: something that is no noising process.
        """
        check_noising("noising", noising)
        return MixtureScore(self, noising)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """``[count, D]`` independent samples, ``count`` at least 1."""
        if count < 1:
            raise ValueError(f"count is at least 1; it is {count}")
        drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(
            count, self.dimensions, dtype=self.means.dtype, device=self.means.device, generator=generator
        )
        return self.means[drawn] + self.stds[drawn, None] * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, ``[...]``, of ``x`` ``[..., D]``."""
        return self._log_joint(x).logsumexp(-1)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density, ``[..., D]``, at ``x`` ``[..., D]``; far out the nearest modes' alone.

        Raises:
            ValueError: another number of dimensions; points so far out that the squares of their distances overflow.
        """
        joint = self._log_joint(x)
        if bool(torch.isneginf(joint).all(-1).any()):
            raise ValueError(f"squares of distances overflow {x.dtype}: points are up to {float(x.abs().max()):g}")
        pulls = (self.means - x.unsqueeze(-2)) / self.stds[:, None] ** 2
        return (joint.softmax(-1).unsqueeze(-1) * pulls).sum(-2)

    def _log_joint(self, x: Tensor) -> Tensor:
        check_tensors(x=x)
        if x.ndim < 1 or x.shape[-1] != self.dimensions:
            raise ValueError(f"points [..., {self.dimensions}] are expected; their shape is {list(x.shape)}")
        squares = ((x.unsqueeze(-2) - self.means) / self.stds[:, None]).square().sum(-1)
        scale = self.stds.log() + 0.5 * math.log(2 * math.pi)
        return self.weights.log() - 0.5 * squares - self.dimensions * scale


@dataclass(frozen=True, eq=False)
class MixtureScore:
    """The score of a mixture's data under a noising process, which `FKCSampler` holds to its own."""

    law: GaussianMixture
    noising: Noising

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """``[B, D]`` at ``x`` ``[B, D]`` and times ``[B]``.

        Raises:
            TypeError: points or times that are no tensors.
            ValueError: times of a call that differ, or none; points as `GaussianMixture.score` refuses them.
        """
        check_tensors(t=t)
        if not t.numel() or not bool((t == t.flatten()[0]).all()):
            raise ValueError("the times of a call must be the same, and at least one")
        return self.law.noised_by(self.noising, float(t.flatten()[0])).score(x)
