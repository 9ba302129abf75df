"""How runs go side by side, while they go."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .bars import bars
from .show import WarmUpProgress

Rows = Sequence[Mapping[str, float]]
Spans = Mapping[str, tuple[float, float]]

_COURSES = ("entropy", "reward")
_WIDTH = 18
_WAITING = "loading, then held-out prompts are answered"
# Lines of a terminal that are left to what stands above.
_MARGIN = 4


class CompareProgress:
    """Every run that has begun with its curves; where there is no terminal, a line at every tenth of a run.

    Nothing is shown before there is something to tell.
    """

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps = console, steps
        self._warm_up = WarmUpProgress(console)
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._began: float | None = None
        self._told: dict[str, int] = {}

    def __enter__(self) -> CompareProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._warm_up.stop()
        if self._live is not None:
            self._live.stop()

    def warming_up(self, step: int, steps: int, loss: float) -> None:
        """A step of the warm-up that the runs wait for."""
        self._warm_up.update(step, steps, loss)

    def update(self, metrics: Mapping[str, Rows]) -> None:
        """The metrics so far, by run."""
        first = self._began is None
        self._began = self._began or time.monotonic()
        runs = {name: [row for row in rows if "entropy" in row] for name, rows in metrics.items()}
        if self._live is not None:
            if first:
                self._live.start()
            room = (self._console.height - _MARGIN) // 2
            self._live.update(panel(runs, self._steps, room, time.monotonic() - self._began))
            return
        if first:
            self._console.print(f"{_runs(len(runs))}: {_WAITING}", highlight=False)
        for name, rows in runs.items():
            tenth = int(10 * rows[-1]["step"] / self._steps) if rows else 0
            if tenth > self._told.get(name, 0):
                self._told[name] = tenth
                line = Text(f"{name}: step {rows[-1]['step']:.0f} of {self._steps}: ")
                self._console.print(line.append(curves(rows, spans_of(runs))), soft_wrap=True)


def panel(runs: Mapping[str, Rows], steps: int, room: int, seconds: float) -> Group:
    """Two lines a run that has begun; where there are more than ``room`` of them, those under way."""
    begun = {name: rows for name, rows in runs.items() if rows}
    under_way = {name: rows for name, rows in begun.items() if rows[-1]["step"] < steps}
    shown = begun if len(begun) <= room else dict(list(under_way.items())[: max(1, room)])
    spans = spans_of(runs)
    lines = [line for name, rows in shown.items() for line in _of_run(name, rows, steps, spans)]
    state = f"{len(begun) - len(under_way)} of {_runs(len(runs))} done" if begun else f"{_runs(len(runs))}: {_WAITING}"
    return Group(*lines, Text(f"{state} ({_clock(seconds)})", style="dim"))


def _of_run(name: str, rows: Rows, steps: int, spans: Spans) -> Iterator[RenderableType]:
    row = rows[-1]
    pace = f"step {row['step']:.0f} of {steps}"
    if row.get("seconds") and 0 < row["step"] < steps:
        pace += f", {_clock(row['seconds'] * (steps - row['step']) / row['step'])} left"
    head = Table.grid(expand=True, padding=(0, 1))
    head.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    head.add_column(no_wrap=True, justify="right")
    head.add_row(Text(name, style="bold"), Text(pace, style="dim"))
    yield head
    yield Text("  ", no_wrap=True, overflow="ellipsis").append(curves(rows, spans))


def spans_of(runs: Mapping[str, Rows]) -> Spans:
    """Lowest and highest value of every course over all runs, so that bars of one height are of one value."""
    values = {name: [value for rows in runs.values() for value in _course(rows, name)] for name in _COURSES}
    return {name: (min(own), max(own)) for name, own in values.items() if own}


def curves(rows: Rows, spans: Spans) -> str:
    """Entropy and reward of a run: as bars, and from where to where."""
    parts = []
    for name in _COURSES:
        course = _course(rows, name)
        if course:
            parts.append(f"{name} {bars(course, _WIDTH, spans[name]):<{_WIDTH}} {course[0]:.2f} → {course[-1]:.2f}")
    return "   ".join(parts)


def _course(rows: Rows, name: str) -> list[float]:
    return [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"
