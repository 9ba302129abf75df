"""Samples of a rectified flow: by its ODE, or by the SDE whose steps DDPO calls actions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .ddpo import ddpo_step
from .loss import Velocity
from .matching import check_finite

__all__ = ["Trajectory", "sample_ode", "sample_sde"]


@dataclass(frozen=True)
class Trajectory:
    """Samples and how they came about.

    Attributes:
        states: ``[steps + 1, B, *]``, noise first, samples last. times: ``[steps]``, at which each step began.
        dt: length of a step.
    """

    states: Tensor
    times: Tensor
    dt: float

    @property
    def samples(self) -> Tensor:
        """``[B, *]``."""
        return self.states[-1]


@torch.no_grad()
def sample_ode(velocity: Velocity, noise: Tensor, steps: int = 20) -> Tensor:
    """Samples ``[B, *]`` by even Euler steps from t = 1, where ``noise`` ``[B, *]`` is, to 0.

    Raises:
        ValueError: fewer than one step; a velocity that is NaN or infinite (which time, how many samples).
    """
    return _steps(velocity, noise, steps, 0.0, None)[-1]


@torch.no_grad()
def sample_sde(
    velocity: Velocity,
    noise: Tensor,
    steps: int = 20,
    noise_level: float = 0.7,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """A trajectory of `ddpo_step`, from t = 1 to 0; Flow-GRPO's sampler. Raises as `sample_ode` does."""
    if not 0 < noise_level < math.inf:
        raise ValueError(f"noise_level must be finite and above 0; it is {noise_level}")
    states = _steps(velocity, noise, steps, noise_level, generator)
    return Trajectory(torch.stack(states), 1 - torch.arange(steps, device=noise.device) / steps, 1 / steps)


def _steps(
    velocity: Velocity, noise: Tensor, steps: int, noise_level: float, generator: torch.Generator | None
) -> list[Tensor]:
    if steps < 1:
        raise ValueError(f"steps is at least 1; it is {steps}")
    states = [noise]
    for i in range(steps):
        t = torch.full((len(noise),), 1 - i / steps, dtype=noise.dtype, device=noise.device)
        v = velocity(states[-1], t)
        check_finite(f"the velocity at t = {1 - i / steps:g}", v)
        mean, std = ddpo_step(v, states[-1], t, 1 / steps, noise_level)
        if noise_level:
            fresh = torch.randn(noise.shape, dtype=noise.dtype, device=noise.device, generator=generator)
            mean = mean + std.reshape(-1, *[1] * (noise.ndim - 1)) * fresh
        states.append(mean)
    return states
