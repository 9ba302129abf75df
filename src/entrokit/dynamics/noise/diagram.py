"""The phase diagram: what runs came to, over α and T."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .draws import Reals
from .records import Run, Status

Regime = Literal["lazy", "features", "noise", "diverged", "censored"]


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Runs over a grid of α and T.

    Attributes:
        alphas, temps: rising. error: mean test error (share) of the fitted runs ``[A, T]``, NaN where there is none.
        change: their geometric mean of ‖w − w_0‖/‖w_0‖, or of the kernel's change.
        fitted, diverged: shares of the runs.
    """

    alphas: tuple[float, ...]
    temps: tuple[float, ...]
    error: Reals
    change: Reals
    fitted: Reals
    diverged: Reals

    def regimes(self, *, moved: float = 1.0, factor: float = 2.0) -> list[list[Regime]]:
        """What decided each cell, ``[A][T]``.

        ``lazy``: the change is below ``moved``. ``noise``: T made it more, ``factor`` times what it is at the lowest
        temperature of this α that was fitted. ``features``: the small α did, whatever T. ``diverged`` and ``censored``:
        fewer than half of the runs were fitted, and most of the others were that.

        A noise that rules at the lowest temperature too is not seen: start the grid low.

        Raises:
            ValueError: a level that is not positive, or a factor of 1 or less.
        """
        if not (moved > 0 and factor > 1):
            raise ValueError(f"moved must be above 0 and factor above 1, got {moved} and {factor}")
        return [[self._regime(a, t, moved, factor) for t in range(len(self.temps))] for a in range(len(self.alphas))]

    def _regime(self, a: int, t: int, moved: float, factor: float) -> Regime:
        if self.fitted[a, t] < 0.5:
            return "diverged" if self.diverged[a, t] >= 1 - self.fitted[a, t] - self.diverged[a, t] else "censored"
        still = self.change[a, np.flatnonzero(self.fitted[a] >= 0.5)[0]]
        if self.change[a, t] < moved:
            return "lazy"
        return "noise" if self.change[a, t] >= factor * still else "features"

    def best_temperature(self) -> list[float | None]:
        """For every α the temperature of the least mean error; None where no run was fitted. The lowest of equals."""
        best: list[float | None] = []
        for row in self.error:
            known = np.flatnonzero(np.isfinite(row))
            best.append(self.temps[int(known[np.argmin(row[known])])] if len(known) else None)
        return best


def phase_diagram(
    runs: Sequence[Run], *, size: int | None = None, change: Literal["weights", "kernel"] = "weights"
) -> PhaseDiagram:
    """A diagram of all runs of one training set's size, which is not needed where there is only one.

    Args:
        change: what says how far a run went. The tangent kernel tells lazy from not by itself; how far weights go
            before it changes depends on the net.

    Raises:
        ValueError: no runs, more than one size, a cell of the grid without a run, runs without a test error, or without
            a change of the kernel where it is asked for, or another ``change``.
    """
    if change not in ("weights", "kernel"):
        raise ValueError(f"change must be 'weights' or 'kernel', got {change!r}")
    sizes = {run.condition.size for run in runs}
    size = next(iter(sizes)) if size is None and len(sizes) == 1 else size
    if size not in sizes:
        raise ValueError(f"a phase diagram is of one size P; the runs have {sorted(sizes)}, asked for {size}")
    cells: dict[tuple[float, float], list[Run]] = {}
    for run in runs:
        if run.condition.size == size:
            cells.setdefault((run.condition.alpha, run.condition.temp), []).append(run)
    alphas, temps = (tuple(sorted({cell[i] for cell in cells})) for i in (0, 1))
    empty = [(a, t) for a in alphas for t in temps if (a, t) not in cells]
    if empty:
        raise ValueError(
            f"{len(empty)} cells of the grid have no run, the first is alpha={empty[0][0]}, temp={empty[0][1]}"
        )
    fitted = [run for cell in cells.values() for run in cell if run.status == "fitted"]
    if any(run.test_error is None for run in fitted):
        raise ValueError("a phase diagram needs test errors: give the runner a test set")
    if change == "kernel" and any(run.kernel_change is None for run in fitted):
        raise ValueError("change='kernel' needs changes of the tangent kernel: give the runner kernel_points")

    def over(value: Callable[[list[Run]], float]) -> Reals:
        return np.array([[value(cells[a, t]) for t in temps] for a in alphas], dtype=np.float64)

    def error(cell: list[Run]) -> float:
        return _mean([run.test_error for run in cell if run.status == "fitted" and run.test_error is not None])

    def distance(cell: list[Run]) -> float:
        moved = [run.kernel_change if change == "kernel" else run.change for run in cell if run.status == "fitted"]
        with np.errstate(divide="ignore"):  # a kernel that did not change at all
            return math.exp(_mean([float(np.log(m)) for m in moved if m is not None]))

    def share(status: Status) -> Reals:
        return over(lambda cell: _mean([float(run.status == status) for run in cell]))

    return PhaseDiagram(alphas, temps, over(error), over(distance), share("fitted"), share("diverged"))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
