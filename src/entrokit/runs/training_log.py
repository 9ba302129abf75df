"""What any engine wrote about a run, in one form: named series, a stream of completions, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


# Kinds of note that are told apart: a hostile file could make a new one of every line.
_MOST_NOTES = 40
_MORE = "something else could not be read"


class Notes:
    """What could not be read, told once each with how often and where first."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, what: str, where: object) -> None:
        if what not in self._count and len(self._count) >= _MOST_NOTES:
            what = _MORE
        self._count[what] += 1
        self._first.setdefault(what, str(where))

    def lines(self) -> list[str]:
        return [
            f"{what} ({self._first[what]}" + (f", and {n - 1} more)" if n > 1 else ")")
            for what, n in self._count.items()
        ]


@dataclass(frozen=True)
class Series:
    """Values ``[N]`` of a metric at optimiser steps ``[N]``, in order of the steps; all finite."""

    steps: Floats
    values: Floats

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]]) -> Series:
        """From points in any order; the last value of a step counts, points that are not finite are left out."""
        table = {float(s): float(v) for s, v in points if np.isfinite(s) and np.isfinite(v)}
        steps = sorted(table)
        return cls(np.array(steps, dtype=np.float64), np.array([table[s] for s in steps], dtype=np.float64))

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Completion:
    """One completion as it was written. Everything that a format does not hold is None.

    Attributes:
        step: optimiser step. prompt, text: texts. family: kind of prompt.
        reward: a number. truncated: cut off by the length limit. advantage: mean over its tokens.
        logp, entropy: ``[T]``, log-probability of each token under the policy that trains, and entropy of its state
            (nats).
        sampler_logp: ``[T]``, what the engine that sampled reported.
        entropy_bounds: ``[T, 2]``, lowest and highest entropy that a truncated top-k allows.
    """

    step: float
    prompt: str
    text: str
    family: str | None = None
    reward: float | None = None
    truncated: bool | None = None
    advantage: float | None = None
    logp: Floats | None = None
    entropy: Floats | None = None
    sampler_logp: Floats | None = None
    entropy_bounds: Floats | None = None


def _no_completions() -> Iterator[Completion]:
    return iter(())


@dataclass(frozen=True)
class TrainingLog:
    """A run as its files tell it. Build it with `read_log`.

    Attributes:
        where: the file or folder. source: what it was recognised as, e.g. ``TRL run``.
        series: by entrokit's own names (`names.CANONICAL`); a family's own are ``reward/<family>`` and
            ``entropy/<family>``.
        config: what was asked for, as far as it is written down.
        completions: opens the stream of completions; it can be opened again. Never the whole of them in memory.
        account: the file of entropy accounts, if there is one.
        notes: what could not be read; grows while completions are streamed.
    """

    where: Path
    source: str
    series: Mapping[str, Series] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    completions: Callable[[], Iterator[Completion]] = _no_completions
    account: Path | None = None
    notes: Notes = field(default_factory=Notes)

    def get(self, name: str) -> Series | None:
        """A series by entrokit's name; None where it was not written."""
        found = self.series.get(name)
        return found if found is not None and len(found) else None
