"""What a comparison shows: numbers per recipe, with their spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrokit.diagnose import at_level
from entrokit.runs import Run

# Generation batches averaged before a curve is asked where it crosses a level: one batch is 16 prompts.
_SMOOTHING = 15


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and their standard deviation (0 for one seed), with the values themselves."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def std(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0

    def __format__(self, spec: str) -> str:
        if not self.values:
            return "not reached"
        spec = spec or ".2f"
        return f"{self.mean:{spec}}" + (f" ± {self.std:{spec}}" if len(self.values) > 1 else "")


@dataclass(frozen=True)
class Summary:
    """One recipe. Starts and ends are measured on held-out prompts; the matched level on the training batches.

    Attributes:
        entropy_start, entropy_end: nats per token. accuracy_*: share of completions that are right.
        pass_start, pass_end: pass@k at the largest k measured (``k``).
        entropy_at_match: entropy when accuracy first reaches ``matched_accuracy``, the highest level that every run of
            the comparison reaches.
    """

    recipe: str
    seeds: int
    k: int
    entropy_start: Spread
    entropy_end: Spread
    accuracy_start: Spread
    accuracy_end: Spread
    pass_start: Spread
    pass_end: Spread
    matched_accuracy: float
    entropy_at_match: Spread


def summarise(runs: Sequence[Run]) -> list[Summary]:
    """A summary of each recipe among the runs, in order of appearance. Unfinished runs count where they have data.

    Raises:
        ValueError: no runs, or a run without any metrics.
    """
    empty = [r.folder for r in runs if not r.metrics]
    if not runs or empty:
        raise ValueError(f"summarise: no metrics yet in {empty[0]}" if empty else "summarise: no runs")
    curves = [_smooth(r) for r in runs]
    level = min(float(accuracy.max()) for _, accuracy in curves)
    k = max(passes(runs))
    result = []
    for name in dict.fromkeys(r.name for r in runs):
        own = [i for i, r in enumerate(runs) if r.name == name]
        matched = [at_level(*curves[i], level) for i in own]
        spread = {
            (metric, end): Spread(
                tuple(_evaluations(runs[i], metric)[end] for i in own if _evaluations(runs[i], metric))
            )
            for metric in ("entropy", "pass@1", f"pass@{k}")
            for end in (0, -1)
        }
        result.append(
            Summary(
                recipe=name,
                seeds=len(own),
                k=k,
                entropy_start=spread["entropy", 0],
                entropy_end=spread["entropy", -1],
                accuracy_start=spread["pass@1", 0],
                accuracy_end=spread["pass@1", -1],
                pass_start=spread[f"pass@{k}", 0],
                pass_end=spread[f"pass@{k}", -1],
                matched_accuracy=level,
                entropy_at_match=Spread(tuple(m for m in matched if m is not None)),
            )
        )
    return result


def passes(runs: Sequence[Run]) -> list[int]:
    """The k of every pass@k that was measured, in order."""
    names = {name for run in runs for row in run.metrics for name in row if name.startswith("pass@")}
    return sorted(int(name.removeprefix("pass@")) for name in names)


def _evaluations(run: Run, metric: str) -> list[float]:
    return run.series(f"eval_{metric}")[1]


def _smooth(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Entropy and accuracy of the training batches, as running means."""
    entropy, accuracy = (np.array(run.series(name)[1], dtype=np.float64) for name in ("entropy", "pass@1"))
    if not len(entropy) or len(entropy) != len(accuracy):
        raise ValueError(f"{run.folder}: no training batches with both entropy and pass@1 yet")
    window = min(_SMOOTHING, len(entropy))
    kernel = np.ones(window) / window
    return np.convolve(entropy, kernel, "valid"), np.convolve(accuracy, kernel, "valid")
