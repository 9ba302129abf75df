"""Samples of a rectified flow: by its ODE, or by the SDE whose steps DDPO calls actions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_finite, check_numbers, check_tensors, check_whole
from ..velocities import Velocity, velocity_at
from .ddpo import ddpo_step
from .matching import at_least_single

__all__ = ["Trajectory", "sample_ode", "sample_sde"]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Samples and how they came about.

    Attributes:
        states: ``[steps + 1, B, *]``, noise first, samples last. times: ``[steps]``, at which each step began, of
            the states' dtype.
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
    """Samples ``[B, *]`` by even Euler steps from t = 1, where ``noise`` ``[B, *]`` is, to 0; of its dtype.

    Raises:
        TypeError: noise that is no tensor, a velocity that cannot be called or returns none, steps that are no int.
        ValueError: fewer than one step; noise of another shape; a velocity of another shape, of whole or complex
            numbers, or NaN or infinite (at which time, in how many samples).
    """
    # Taken one by one: a list of them would keep every state.
    x = noise
    for state in _states(velocity, noise, steps, 0.0, None):
        x = state
    return x


@torch.no_grad()
def sample_sde(
    velocity: Velocity,
    noise: Tensor,
    steps: int = 20,
    noise_level: float = 0.7,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """A trajectory of `ddpo_step`, from t = 1 to 0; Flow-GRPO's sampler. Raises as `sample_ode` does."""
    check_numbers(noise_level=noise_level)
    if not 0 < noise_level < math.inf:
        raise ValueError(f"noise_level must be finite and above 0; it is {noise_level}")
    states = torch.stack(list(_states(velocity, noise, steps, noise_level, generator)))
    times = 1 - torch.arange(steps, device=noise.device, dtype=at_least_single(noise)) / steps
    return Trajectory(states, times.to(noise.dtype), 1 / steps)


def _states(
    velocity: Velocity, noise: Tensor, steps: int, noise_level: float, generator: torch.Generator | None
) -> Iterator[Tensor]:
    check_tensors(noise=noise)
    check_whole(steps=steps)
    if noise.ndim < 2 or not noise.is_floating_point():
        raise ValueError(f"noise is [B, *], floating point; it is {list(noise.shape)} of {noise.dtype}")
    check_finite("the noise", noise)
    if steps < 1:
        raise ValueError(f"steps is at least 1; it is {steps}")
    x = noise
    yield x
    for i in range(steps):
        t = torch.full((len(noise),), 1 - i / steps, dtype=noise.dtype, device=noise.device)
        v = velocity_at(velocity, x, t, f"the velocity at t = {1 - i / steps:g}")
        mean, std = ddpo_step(v, x, t, 1 / steps, noise_level)
        if noise_level:
            fresh = torch.randn(noise.shape, dtype=noise.dtype, device=noise.device, generator=generator)
            mean = mean + std.reshape(-1, *[1] * (noise.ndim - 1)) * fresh
        x = mean.to(noise.dtype)
        yield x
