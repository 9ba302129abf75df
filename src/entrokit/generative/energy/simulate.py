"""A trained energy as a force field: Langevin dynamics at the time of the data (arXiv 2506.17139)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .checks import as_times, check_points, scores_of

__all__ = ["force_of", "langevin_simulate"]

Force = Callable[[Tensor], Tensor]


def force_of(model: Any, kT: float, t: float = 1e-5) -> Force:
    """kT times the score at time t, as a force of points ``[B, *]``.

    Args:
        model: with ``score(x, t)``, or called so. t: of the data; that of a little noise is smoother, and another law.
    """

    def force(x: Tensor) -> Tensor:
        return kT * scores_of(model, x, as_times(t, x))

    return force


@torch.no_grad()
def langevin_simulate(
    force: Force,
    x0: Tensor,
    steps: int,
    dt: float,
    gamma: float,
    kT: float,
    mass: float,
    *,
    every: int = 1,
    velocity: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Positions ``[frames, B, *]`` of chains side by side after every ``every`` steps of Langevin dynamics.

    v ← e^{-γΔ} v + (1 - e^{-γΔ}) / γ · F(x) / m + √(kT (1 - e^{-2γΔ}) / m) ξ;  x ← x + Δ v.

    Args:
        force: of points ``[B, *]``; called without gradients. x0: where the chains begin, ``[B, *]``.
        dt: Δ. gamma: friction, at least 0; 0 keeps energy. mass: of every coordinate.
        velocity: the first ones ``[B, *]``; drawn from their law at kT by default.

    Raises:
        ValueError: knobs out of range, points or forces that are of no or another shape, a force that is not finite,
            or chains that left finite numbers; says at which step.
    """
    check_points(x0)
    _check_knobs(steps, every, dt, gamma, kT, mass)
    if velocity is not None and velocity.shape != x0.shape:
        raise ValueError(f"velocities have the points' shape, {list(x0.shape)}; theirs is {list(velocity.shape)}")
    kept = math.exp(-gamma * dt)
    push = (-math.expm1(-gamma * dt) / gamma if gamma > 0 else dt) / mass
    shake = math.sqrt(kT * -math.expm1(-2 * gamma * dt) / mass)
    x, v = x0, _normal(x0, generator) * math.sqrt(kT / mass) if velocity is None else velocity
    frames = []
    for step in range(1, steps + 1):
        pull = force(x)
        if pull.shape != x.shape:
            raise ValueError(f"a force has its points' shape, {list(x.shape)}; it came as {list(pull.shape)}")
        v = kept * v + push * pull + (shake * _normal(x, generator) if shake else 0.0)
        x = x + dt * v
        lost = ~x.isfinite().flatten(1).all(1)
        if bool(lost.any()):
            raise ValueError(
                f"at step {step} {int(lost.sum())} of {len(x)} chains, the first number {int(lost.nonzero()[0])}, left "
                "finite numbers; shorten dt, or look where the force comes from"
            )
        if step % every == 0:
            frames.append(x)
    return torch.stack(frames)


def _check_knobs(steps: int, every: int, dt: float, gamma: float, kT: float, mass: float) -> None:
    if not 1 <= every <= steps:
        raise ValueError(f"1 <= every <= steps is expected; they are {every} and {steps}")
    for name, value in (("dt", dt), ("mass", mass)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0 and finite; it is {value}")
    for name, value in (("gamma", gamma), ("kT", kT)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite; it is {value}")


def _normal(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
