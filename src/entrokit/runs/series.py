"""One metric over a run: its finite points, and what was written that is no number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Broken:
    """Points of a metric that were written as NaN or infinity.

    Attributes:
        first_step: step of the first of them. count: how many. kind: ``nan`` or ``inf``, of the first.
        last_finite: the last number before it; None where there is none. recovered: whether numbers came after the
            last of them.
    """

    first_step: float
    count: int
    kind: str
    last_finite: float | None = None
    recovered: bool = False


@dataclass(frozen=True)
class Series:
    """Values ``[N]`` of a metric at optimiser steps ``[N]``, in order of the steps; all finite.

    Attributes:
        broken: what was written at further steps and is not finite; None where all was.
        column: its name as it was written. source: what it was read from, e.g. ``verl console log``.
    """

    steps: Floats
    values: Floats
    broken: Broken | None = None
    column: str = ""
    source: str = ""

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]], column: str = "", source: str = "") -> Series:
        """From points in any order; the last value of a step counts, and points without a finite step are left out."""
        table = {float(s): float(v) for s, v in points if math.isfinite(s)}
        return cls.of_arrays(
            np.fromiter(table, np.float64, len(table)),
            np.fromiter(table.values(), np.float64, len(table)),
            column,
            source,
        )

    @classmethod
    def of_arrays(cls, steps: Floats, values: Floats, column: str = "", source: str = "") -> Series:
        """From finite steps ``[N]``, none twice, in any order, and values ``[N]`` of whatever kind."""
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[order]
        finite = np.isfinite(values)
        return cls(steps[finite], values[finite], _broken(steps, values, finite), column, source)

    def __len__(self) -> int:
        return len(self.steps)

    def scaled(self, scale: float, offset: float = 0.0) -> Series:
        """Every value times ``scale``, plus ``offset``."""
        return self if (scale, offset) == (1.0, 0.0) else replace(self, values=self.values * scale + offset)


def _broken(steps: Floats, values: Floats, finite: NDArray[np.bool_]) -> Broken | None:
    bad = np.flatnonzero(~finite)
    if not len(bad):
        return None
    first, before = int(bad[0]), np.flatnonzero(finite[: bad[0]])
    return Broken(
        float(steps[first]),
        len(bad),
        "nan" if np.isnan(values[first]) else "inf",
        float(values[before[-1]]) if len(before) else None,
        bool(finite[bad[-1] :].any()),
    )
