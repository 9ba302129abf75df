"""A trained energy as a force field: Langevin dynamics at the time of the data (arXiv 2506.17139)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_finite, check_tensors
from .checks import as_times, check_count, check_number, check_points, check_scored, scores_of, wide

__all__ = ["force_of", "langevin_simulate"]

Force = Callable[[Tensor], Tensor]


def force_of(model: Any, kT: float, t: float = 1e-5) -> Force:
    """kT times the score at time t, as a force of points ``[B, *]``.

    Args:
        model: with ``score(x, t)``, or called so. t: of the data; that of a little noise is smoother, and another law.

    Raises:
        TypeError: a model without score. ValueError: a ``kT`` that is not above 0 and finite, a ``t`` outside [0, 1].
    """
    check_scored(model)
    check_number("kT", kT, above=True)
    if not 0 <= t <= 1:
        raise ValueError(f"times lie in [0, 1], data at 0; t is {t}")

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

    The leapfrog with friction, as OpenMM's ``LangevinIntegrator`` has it: an exponential Euler step, exact for friction
    and noise with the force held; without friction symplectic Euler. Positions are biased by O(Δ²): in a harmonic well
    of frequency ω their standard deviation is ``√(q / (1 - (ωΔ)² / (4 q)))`` times what it should be, ``q = γΔ / 2 ·
    coth(γΔ / 2)``, which for little friction is ``1 / √(1 - (ωΔ)² / 4)``: 0.5 % at ωΔ = 0.2. It is stable for
    ``(ωΔ)² < 4 q``.

    Chains of half precision are kept in float32 between steps, which would be lost in its rounding; the force sees
    points in their dtype, and so are the frames.

    Args:
        force: of points ``[B, *]``, such as `force_of` a model; called without gradients.
        x0: where the chains begin, ``[B, *]``.
        dt: Δ. gamma: friction, at least 0; 0 keeps energy. mass: of every coordinate.
        velocity: the first ones ``[B, *]``; drawn from their law at kT by default.

    Raises:
        TypeError: what is no tensor, no function of points or no number where one is expected.
        ValueError: knobs out of range, points or forces that are of no or another shape, a force that is not finite,
            or chains that left finite numbers; says at which step.
    """
    check_finite("x0", check_points(x0, name="x0"))
    _check_force(force, x0)
    _check_knobs(steps, every, dt, gamma, kT, mass)
    if velocity is not None:
        check_tensors(velocity=velocity)
        if velocity.shape != x0.shape:
            raise ValueError(f"velocities have the points' shape, {list(x0.shape)}; theirs is {list(velocity.shape)}")
        check_finite("velocity", velocity)
    kept = math.exp(-gamma * dt)
    push = (-math.expm1(-gamma * dt) / gamma if gamma > 0 else dt) / mass
    shake = math.sqrt(kT * -math.expm1(-2 * gamma * dt) / mass)
    x = x0.to(wide(x0))
    v = _normal(x, generator) * math.sqrt(kT / mass) if velocity is None else velocity.to(x.dtype)
    frames = []
    for step in range(1, steps + 1):
        pull = force(x.to(x0.dtype))
        check_tensors(**{"what force gives": pull})
        if pull.shape != x.shape:
            raise ValueError(f"a force has its points' shape, {list(x.shape)}; it came as {list(pull.shape)}")
        v = kept * v + push * pull.to(x.dtype) + (shake * _normal(x, generator) if shake else 0.0)
        x = x + dt * v
        lost = ~x.to(x0.dtype).isfinite().flatten(1).all(1)
        if bool(lost.any()):
            raise ValueError(
                f"at step {step} {int(lost.sum())} of {len(x)} chains, the first number {int(lost.nonzero()[0])}, left "
                "finite numbers; shorten dt, or look where the force comes from"
            )
        if step % every == 0:
            frames.append(x.to(x0.dtype))
    return torch.stack(frames)


def _check_force(force: object, x0: Tensor) -> None:
    fits = callable(force) and not hasattr(force, "log_q")
    if fits:
        # What is not written in Python may have no signature, which is a ValueError.
        with suppress(ValueError):
            fits = _takes(force.forward if isinstance(force, nn.Module) else force, x0)
    if not fits:
        raise TypeError(
            f"force is a function of points [B, *] alone; it is a {type(force).__name__}: force_of(model, kT) makes one"
        )


def _takes(called: Any, x0: Tensor) -> bool:
    signature = inspect.signature(called)
    try:
        signature.bind(x0)
    except TypeError:
        return False
    return True


def _check_knobs(steps: int, every: int, dt: float, gamma: float, kT: float, mass: float) -> None:
    if not 1 <= check_count("every", every) <= check_count("steps", steps):
        raise ValueError(f"1 <= every <= steps is expected; they are {every} and {steps}")
    for name, value, above in (("dt", dt, True), ("mass", mass, True), ("gamma", gamma, False), ("kT", kT, False)):
        check_number(name, value, above=above)


def _normal(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
