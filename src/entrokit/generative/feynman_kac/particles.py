"""Particles under way: where they are, what they weigh, whom they descend from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

from .resampling import normalised_weights

__all__ = ["Info", "Particles", "log_z_error"]


@dataclass(frozen=True)
class Particles:
    """K particles after ``step`` steps: weighted by ``log_weights`` they stand for the wanted law at time ``t``.

    Attributes:
        step: index into the times. t: in [0, 1], data at 0.
        x: ``[K, *]``. Groups lie one behind the other, as many particles in each.
        log_weights: ``[K]`` in nats, gained since the last resampling; not normalised.
        log_z: ``[groups]`` in nats, ``log ∫ Π q_i^b exp(λ r)`` at t less ``log ∫ Π q_i^b`` at the start.
        ess: ``[groups]``, before resampling. resampled: ``[groups]``, whether the last step ended with it.
        ancestors: ``[K]``, which of the particles at the start each descends from.
    """

    step: int
    t: float
    x: Tensor
    log_weights: Tensor
    log_z: Tensor
    ess: Tensor
    resampled: Tensor
    ancestors: Tensor

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.log_z)

    @property
    def grouped_weights(self) -> Tensor:
        """``log_weights`` as ``[groups, n]``."""
        return self.log_weights.reshape(self.groups, -1)

    def chosen(self, indices: Tensor, which: Tensor) -> Particles:
        """The particles that ``indices`` ``[groups, n]`` name in their groups, where ``which`` ``[groups]`` says so.

        Their weights become equal, and ``log_z`` stays; other groups are as they were.
        """
        count = indices.shape[1]
        within = torch.where(which[:, None], indices, torch.arange(count, device=indices.device))
        flat = (within + count * torch.arange(self.groups, device=indices.device)[:, None]).flatten()
        return replace(
            self,
            x=self.x[flat],
            log_weights=torch.where(which[:, None], 0.0, self.grouped_weights).flatten(),
            resampled=which,
            ancestors=self.ancestors[flat],
        )


class Info(TypedDict):
    """What `FKCSampler.sample` says of a run of G groups.

    Keys:
        times: ``[steps + 1]``. ess: ``[steps, G]``, before resampling. resampled: ``[steps, G]``, whether it was done.
        log_z, log_z_error: ``[G]`` in nats. ancestors, log_weights: ``[K]``. As `Particles` and `log_z_error` say.
    """

    times: Tensor
    ess: Tensor
    resampled: Tensor
    log_z: Tensor
    log_z_error: Tensor
    ancestors: Tensor
    log_weights: Tensor


def log_z_error(particles: Particles) -> Tensor:
    """The standard error of ``log_z``, ``[groups]`` in nats, from a single run.

    ``sqrt((n Σ_e W_e² - 1) / (n - 1))``, with ``W_e`` the share of weight that descends from start particle e, of n.

    What it covers is chance alone: how far log Z strays between runs of other random numbers. It takes what resampling
    alone does to families for an error too, and so errs on the large side, the more so the more often is resampled.
    What it does not cover:

    - Euler's steps, which move log Z by the same amount in every run: halve them and look whether log Z stays;
    - weights without a finite variance, as those of pure noise are where ``c <= 2 (1 - 1 / Σ b_i)`` (`FKCSampler` warns
      below that): rare particles decide, and the error of a run that has none is too small;
    - modes that no particle ever found.

    Near 1 all descend from one particle and the error is unknown; it is infinite for n = 1. The spread of log Z over
    groups of the same models needs none of this but for the steps, and is the check of it.

    Source: Chan and Lai (arXiv 1307.5952); Lee and Whiteley (arXiv 1509.00394).
    """
    logw = particles.grouped_weights
    count = logw.shape[1]
    if count == 1:
        return torch.full((particles.groups,), math.inf, dtype=logw.dtype, device=logw.device)
    shares = torch.zeros_like(logw).flatten()
    shares.index_add_(0, particles.ancestors, normalised_weights(logw).flatten())
    squares = shares.reshape(logw.shape).square().sum(1)
    return ((count * squares - 1) / (count - 1)).clamp_min(0).sqrt()
