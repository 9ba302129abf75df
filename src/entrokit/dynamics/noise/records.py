"""One run: what was asked for, what was seen on the way, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["fitted", "censored", "diverged"]


@dataclass(frozen=True)
class Condition:
    """One run: α, T, P, and the seed of its start and of which points it has.

    Runs of one seed start alike, and the points of a smaller P are among those of a larger. ``batches``: the seed of
    the batches; runs that share it see the same draws at every α and T.
    """

    alpha: float
    temp: float
    size: int
    seed: int = 0
    batches: int = 0


def grid(
    alphas: Sequence[float], temps: Sequence[float], sizes: Sequence[int], seeds: Sequence[int]
) -> list[Condition]:
    """Every combination, with batches drawn by the seed."""
    return [Condition(a, t, p, s, s) for a in alphas for t in temps for p in sizes for s in seeds]


@dataclass(frozen=True)
class Checkpoint:
    """A run at a look at its whole training set.

    Attributes:
        steps, time: taken so far, and η · steps. loss: mean over the points. error: share with o y ≤ 0; at the start,
            where o = 0, all of them. unfitted: points with α o y < 1. margin: the least o y, NaN of a diverged run.
        norm_sq, change_sq: Σ w² and Σ (w − w_0)² of every parameter.
    """

    steps: int
    time: float
    loss: float
    error: float
    unfitted: int
    margin: float
    norm_sq: dict[str, float]
    change_sq: dict[str, float]


@dataclass(frozen=True)
class Run:
    """How a run ended.

    Attributes:
        status: ``fitted`` where every point was; ``censored`` at ``max_steps``; ``diverged``: NaN or
            inf in an output, or one output for all points, of a net whose units have died.
        steps, time: at the end; ``time`` is t* of a fitted run, seen late by less than ``spacing``, the time since the
            look before. change: ‖w − w_0‖/‖w_0‖, inf where w_0 is 0.
        test_error, kernel_change: None where not asked for, or diverged.
    """

    condition: Condition
    status: Status
    steps: int
    time: float
    spacing: float
    change: float
    test_error: float | None
    kernel_change: float | None
    history: tuple[Checkpoint, ...] = field(repr=False)
