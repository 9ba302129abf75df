"""What a comparison shows: numbers per recipe, with their spread over seeds, and differences paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from entrokit.diagnose import PairedDifference, paired_difference, training_course, what_is_shown
from entrokit.runs import Run

# What pairs two recipes' runs: the seed, and which run of that seed it is where there are several.
Pair = tuple[int | None, int]


@dataclass(frozen=True)
class Spread:
    """A number per seed. ``mean`` and ``std`` (standard deviation, 0 for one seed) are over seeds."""

    by_seed: Mapping[Pair, float]

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(self.by_seed.values())

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.by_seed else float("nan")

    @property
    def std(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.by_seed) > 1 else 0.0

    def minus(self, baseline: Spread) -> PairedDifference | None:
        """The difference over the seeds that both have; None without such seeds."""
        pairs = [p for p in self.by_seed if p in baseline.by_seed]
        if not pairs:
            return None
        return paired_difference([self.by_seed[p] for p in pairs], [baseline.by_seed[p] for p in pairs])

    def __format__(self, spec: str) -> str:
        if not self.by_seed:
            return "none"
        spec = spec or ".2f"
        return f"{self.mean:{spec}}" + (f" ± {self.std:{spec}}" if len(self.by_seed) > 1 else "")


@dataclass(frozen=True)
class Matched:
    """Entropy (nats) when accuracy on the training batches first reaches ``accuracy``, over the seeds that reach it."""

    accuracy: float
    entropy: Spread

    def __str__(self) -> str:
        return f"{self.entropy:.2f}" if self.entropy.by_seed else "not reached"


@dataclass(frozen=True)
class Summary:
    """One recipe. Starts and ends are measured on held-out prompts; matched levels on the training batches.

    Attributes:
        entropy_start, entropy_end: nats per token. accuracy_*: share of completions that are right.
        pass_start, pass_end: pass@k at the largest k measured (``k``).
        matched: one per level asked for; by default the highest level that every run of the comparison reaches.
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
    matched: tuple[Matched, ...]

    @property
    def courses(self) -> tuple[str, str, str]:
        """Entropy, accuracy and pass@k on held-out prompts, from start to end, in words where none were answered."""
        ends = (
            (self.entropy_start, self.entropy_end),
            (self.accuracy_start, self.accuracy_end),
            (self.pass_start, self.pass_end),
        )
        entropy, accuracy, passed = (
            f"{start:.2f} → {end:.2f}" if start.by_seed or end.by_seed else "not measured" for start, end in ends
        )
        return entropy, accuracy, passed

    @property
    def compared(self) -> tuple[Spread, ...]:
        """What recipes are compared by, in the order of a table's columns: the ends, then the matched levels."""
        return (self.entropy_end, self.accuracy_end, self.pass_end, *(m.entropy for m in self.matched))


def summarise(runs: Sequence[Run], matched_accuracy: Sequence[float] = ()) -> list[Summary]:
    """A summary of each recipe among the runs, in order of appearance. Unfinished runs count where they have data.

    Args:
        matched_accuracy: accuracies, each in (0, 1], at which entropies are compared.

    Raises:
        ValueError: no runs, a run without any metrics, or a level out of range.
    """
    empty = [r.folder for r in runs if not r.metrics]
    if not runs or empty:
        raise ValueError(f"summarise: no metrics yet in {empty[0]}" if empty else "summarise: no runs")
    if any(not 0.0 < level <= 1.0 for level in matched_accuracy):
        raise ValueError(f"summarise: matched accuracies must lie in (0, 1], got {list(matched_accuracy)}")
    courses = [training_course(r) for r in runs]
    levels = matched_accuracy or [min(float(c.accuracy.max()) for c in courses)]
    pairs = _pairs(runs)
    k = max(passes(runs))

    def spread(values: Sequence[float | None], own: Sequence[int]) -> Spread:
        return Spread({pairs[i]: v for i, v in zip(own, values, strict=True) if v is not None})

    result = []
    for name in dict.fromkeys(r.name for r in runs):
        own = [i for i, r in enumerate(runs) if r.name == name]
        evaluated = {
            (metric, end): spread([_evaluation(runs[i], metric, end) for i in own], own)
            for metric in ("entropy", "pass@1", f"pass@{k}")
            for end in (0, -1)
        }
        result.append(
            Summary(
                recipe=name,
                seeds=len(own),
                k=k,
                entropy_start=evaluated["entropy", 0],
                entropy_end=evaluated["entropy", -1],
                accuracy_start=evaluated["pass@1", 0],
                accuracy_end=evaluated["pass@1", -1],
                pass_start=evaluated[f"pass@{k}", 0],
                pass_end=evaluated[f"pass@{k}", -1],
                matched=tuple(
                    Matched(level, spread([courses[i].entropy_at(level) for i in own], own)) for level in levels
                ),
            )
        )
    return result


def in_brackets(summaries: Sequence[Summary]) -> str:
    """Names what stands in brackets behind the differences to the first; empty where no brackets stand at all."""
    first, *others = summaries
    gaps = (own.minus(base) for s in others for own, base in zip(s.compared, first.compared, strict=True))
    return what_is_shown(gap for gap in gaps if gap is not None)


def passes(runs: Sequence[Run]) -> list[int]:
    """The k of every pass@k that was measured, in order."""
    names = {name for run in runs for row in run.metrics for name in row if name.startswith("pass@")}
    return sorted(int(name.removeprefix("pass@")) for name in names)


def _pairs(runs: Sequence[Run]) -> list[Pair]:
    counters: dict[tuple[str, int | None], count[int]] = {}
    keys = [(r.name, r.config.get("seed")) for r in runs]
    return [(seed, next(counters.setdefault((name, seed), count()))) for name, seed in keys]


def _evaluation(run: Run, metric: str, end: int) -> float | None:
    values = run.series(f"eval_{metric}")[1]
    return values[end] if values else None
