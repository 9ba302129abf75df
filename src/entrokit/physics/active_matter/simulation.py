"""Runs of active particles, whose pairs come from a list that is seldom made."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arguments import as_count, check_generator
from .box import pairs_within, wrap
from .checks import check_above
from .particles import ActiveParticles

__all__ = ["simulate"]

# Between two searches for pairs a particle may move by half of it.
_SKIN = 1.0


@torch.no_grad()
def simulate(
    system: ActiveParticles,
    z: Tensor,
    steps: int,
    dt: float,
    *,
    every: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """States ``[steps // every, B, N, c]`` of systems side by side, one after every ``every`` steps.

    Pairs come from a list with a skin, which is made again once a particle has moved by half of it: the same forces,
    for a fraction of the searches.

    Args:
        z: where they begin, ``[B, N, c]``. dt: length of a step; the law that comes out is off by O(dt).

    Raises:
        TypeError, ValueError: states or knobs that are none; a step as `ActiveParticles.step` refuses it; states that
            left finite numbers, and at which step.
    """
    steps, every = as_count("steps", steps), as_count("every", every)
    if every > steps:
        raise ValueError(f"every is at most steps; they are {every} and {steps}")
    check_generator(generator)
    check_above(dt=dt)
    x = system.positions(z)
    listed = system.repulsion.reach_in(system.half_width)
    listed = min(listed + _SKIN, system.half_width)
    skin = listed - system.repulsion.reach_in(system.half_width)
    frames, pairs, home = [], None, x
    for step in range(1, steps + 1):
        moved = wrap(x - home, system.half_width).square().sum(-1).max().sqrt()
        if pairs is None or 2 * float(moved) >= skin:
            pairs, home = pairs_within(x, system.half_width, listed), x
        z = system.step(z, dt, generator, pairs)
        x = z[..., : system.dimensions]
        if not bool(z.isfinite().all()):
            raise ValueError(f"at step {step} states left finite numbers; shorten dt, or soften the repulsion")
        if step % every == 0:
            frames.append(z)
    return torch.stack(frames)
