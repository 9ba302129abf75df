"""The Couzin zone model in three dimensions, as dewi-kadita has it: a step, a run, how a school begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from ..arguments import as_count, check_generator
from .checked import Array, checked_box, checked_inside, checked_vectors, directions
from .turning import Turn, turned
from .zones import Zones, unit

__all__ = ["CouzinModel", "Trajectory"]


@dataclass(frozen=True)
class Trajectory:
    """States of a run: ``times (T,)``, ``positions`` and ``velocities (T, ..., N, 3)``, in a cube of side ``box``."""

    times: Tensor
    positions: Tensor
    velocities: Tensor
    box: float


@dataclass(frozen=True)
class CouzinModel:
    """Agents of constant speed in a periodic cube, which turn to what their zones ask for (arXiv 2602.07948).

    Attributes:
        box: side of the cube. speed: of every agent. zones: whom they mind, and how.
        max_turn: radians a step. noise: standard deviation of a Gaussian vector that is added to the unit heading at
            each step, before it is normalised. Both are per step, whatever dt is.
        turn: ``nlerp`` as released, or ``slerp``, a true turn (`turned`).

    Schools are states ``(..., N, 3)``: leading dimensions are schools that know nothing of one another.
    """

    box: float
    speed: float
    zones: Zones
    max_turn: float
    noise: float
    turn: Turn = "nlerp"

    def __post_init__(self) -> None:
        checked_box(self.box)
        if not 0 < self.speed < math.inf:
            raise ValueError(f"speed: above 0, got {self.speed}")
        if not 0 < self.max_turn <= math.pi:
            raise ValueError(f"max_turn: radians a step, in (0, π], got {self.max_turn}")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise: a standard deviation, at least 0, got {self.noise}")
        if self.turn not in get_args(Turn):
            raise ValueError(f"turn: one of {', '.join(get_args(Turn))}, got {self.turn!r}")

    def step(
        self, positions: Array, velocities: Array, dt: float, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions and velocities ``(..., N, 3)`` after a step: all turn at what they see now, then all move.

        Args:
            generator: of the noise; a model without noise needs none.

        Raises:
            TypeError: a generator that is none of torch.
            ValueError: a state that is none, an agent outside of the box or without speed, noise without a generator,
                a step over more than half of the box.
        """
        x, u = self._state(positions, velocities)
        x, u = self._step(x, u, self._step_length(dt), self._source(generator))
        return x, self.speed * u

    def run(
        self,
        positions: Array,
        velocities: Array,
        steps: int,
        dt: float,
        *,
        save_every: int = 1,
        generator: torch.Generator | None = None,
    ) -> Trajectory:
        """The state at the beginning and after every ``save_every`` steps; for the rest see `step`."""
        steps, save_every = as_count("steps", steps, 0), as_count("save_every", save_every)
        dt, source = self._step_length(dt), self._source(generator)
        x, u = self._state(positions, velocities)
        kept = [(x, u)]
        for step in range(1, steps + 1):
            x, u = self._step(x, u, dt, source)
            if step % save_every == 0:
                kept.append((x, u))
        times = dt * save_every * torch.arange(len(kept), dtype=torch.float64)
        xs, us = zip(*kept, strict=True)
        return Trajectory(times, torch.stack(xs), self.speed * torch.stack(us), self.box)

    def swarm(self, *shape: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A school to begin with: ``shape`` is ``(..., N)``; even over the cube, with headings even over the sphere."""
        _check_source(generator)
        x = torch.rand(*shape, 3, generator=generator, dtype=torch.float64, device=generator.device) * self.box
        v = torch.randn(*shape, 3, generator=generator, dtype=torch.float64, device=generator.device)
        return x, self.speed * directions(v)

    def mill(self, *shape: int, generator: torch.Generator, radius: float | None = None) -> tuple[Tensor, Tensor]:
        """A school that turns around the middle of the cube, upright, as released: ``shape`` is ``(..., N)``.

        Args:
            radius: a quarter of the box by default; radii and heights spread by 0.15 and 0.3 of it.
        """
        _check_source(generator)
        radius = self.box / 4 if radius is None else radius
        angle, out, up, climb = torch.randn(
            4, *shape, generator=generator, dtype=torch.float64, device=generator.device
        ).unbind(0)
        angle = 0.1 * angle + torch.arange(shape[-1], device=angle.device) * (2.0 * math.pi / shape[-1])
        r = radius * (1.0 + 0.15 * out)
        x = self.box / 2 + torch.stack([r * angle.cos(), r * angle.sin(), 0.3 * radius * up], -1)
        v = torch.stack([-angle.sin(), angle.cos(), 0.1 * climb], -1)
        return wrapped(x, self.box), self.speed * directions(v)

    def _state(self, positions: Array, velocities: Array) -> tuple[Tensor, Tensor]:
        x, u = checked_vectors("positions", positions), directions(velocities)
        if x.shape != u.shape or x.dtype != u.dtype:
            raise ValueError(
                f"positions and velocities: one shape and dtype, got {tuple(x.shape)} {x.dtype} and "
                f"{tuple(u.shape)} {u.dtype}"
            )
        checked_inside(x, self.box)
        return wrapped(x, self.box), u

    def _step_length(self, dt: float) -> float:
        if not 0 < dt < math.inf:
            raise ValueError(f"dt: above 0, got {dt}")
        if self.speed * dt > self.box / 2:
            raise ValueError(
                f"dt: agents of speed {self.speed:g} would go {self.speed * dt:g} in a step of {dt:g}, over more than "
                f"half of the box of {self.box:g}; shorten it"
            )
        return float(dt)

    def _source(self, generator: torch.Generator | None) -> torch.Generator | None:
        check_generator(generator)
        if self.noise > 0 and generator is None:
            raise ValueError("generator: this model has noise; give a torch.Generator")
        return generator if self.noise > 0 else None

    def _step(self, x: Tensor, u: Tensor, dt: float, source: torch.Generator | None) -> tuple[Tensor, Tensor]:
        schools = x.reshape(-1, *x.shape[-2:]), u.reshape(-1, *u.shape[-2:])
        u = turned(u, self.zones.desired(*schools, self.box).view_as(u), self.max_turn, self.turn)
        if source is not None:
            u = unit(u + self.noise * torch.randn(u.shape, generator=source, dtype=u.dtype, device=u.device), u)
        return wrapped(x + (self.speed * dt) * u, self.box), u


def wrapped(positions: Tensor, box: float) -> Tensor:
    """Positions in [0, box): a remainder of tiny negative numbers alone would be ``box`` itself."""
    inside = torch.remainder(positions, box)
    return torch.where(inside >= box, 0.0, inside)


def _check_source(generator: torch.Generator) -> None:
    check_generator(generator)
    if generator is None:
        raise ValueError("generator: a school is drawn at random; give a torch.Generator")
