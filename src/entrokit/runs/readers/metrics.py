"""From rows of named numbers, as every engine's log holds them, to series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..names import STEP, canonical
from ..series import Series
from .lines import number_of


class SeriesBuilder:
    """Collects points under entrokit's names; where an engine logs two of a name's aliases, the first one counts."""

    def __init__(self) -> None:
        self._points: dict[str, dict[int, list[tuple[float, float]]]] = {}

    def add(self, step: float, metrics: Mapping[str, Any]) -> None:
        """Adds one row; names that entrokit has no use for, and values that are no numbers, are passed over."""
        for name, value in metrics.items():
            known, number = canonical(str(name)), number_of(value)
            if known is not None and number is not None:
                self._points.setdefault(known[0], {}).setdefault(known[1], []).append((step, number))

    def series(self) -> dict[str, Series]:
        found = {name: Series.of(by_rank[min(by_rank)]) for name, by_rank in self._points.items()}
        return {name: series for name, series in found.items() if len(series) or series.broken}


def step_of_row(row: Mapping[str, Any]) -> float | None:
    """The optimiser step of a row of metrics, under whichever of its usual names."""
    lowered = {str(key).strip().lower(): value for key, value in row.items()}
    return next((n for name in STEP if (n := number_of(lowered.get(name))) is not None), None)


def series_of_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    """Series from rows that hold a step each; rows without one are counted from 0."""
    builder = SeriesBuilder()
    for i, row in enumerate(rows):
        step = step_of_row(row)
        builder.add(float(i) if step is None else step, row)
    return builder.series()
