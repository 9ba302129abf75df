"""Which of the courses that were found together belong to one run: a run's console log and its file log do, two
experiments do not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from .courses import Course
from .series import Floats, Series

# A console rounds what a file keeps whole: to three digits at the least.
_ROUNDING, _NEXT_TO_NOTHING, _AGREE, _COMMON = 2e-3, 1e-3, 0.9, 3
# Of fewer common steps: quantities with more digits than a setting has, equal to the last one but how it was printed.
_MEASURED, _DIGITS_OF_A_SETTING, _LAST_DIGIT = 3, 6, 1e-12
# Where all runs of one seed are still alike.
_FIRST_STEP = 1.0
# Steps, in those between two points, that may lie between a log's end and that of the run that went on from it.
_GAP = 5
# Points of entropy or reward that a run must have to be the one that is judged.
_FEWEST_POINTS = 10
_OF_ONE_METRIC = 1


@dataclass
class Group:
    """The courses of one run, the first of which counts where several hold a quantity."""

    courses: list[Course] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        return {course.run for course in self.courses if course.run is not None}

    @property
    def series(self) -> dict[str, Series]:
        joined: dict[str, Series] = {}
        for course in self.courses:
            for key, series in course.series.items():
                joined[key] = _joined(joined[key], series) if key in joined else series
        return joined

    @property
    def points(self) -> int:
        series = self.series
        return max((len(series[key]) for key in ("entropy", "reward", "loss") if key in series), default=0)


def runs_of(courses: Iterable[Course]) -> list[Group]:
    """The runs among some courses; the one to judge first, the others in the order in which they came.

    Of runs below each other in one log the last one is judged that has gone on for some steps, of runs beside each
    other the one that began last, where that is known, and otherwise the one with most points.
    """
    groups: list[Group] = []
    for course in sorted(courses, key=lambda c: -c.points):
        home = next((group for group in groups if all(_one_run(course, other) for other in group.courses)), None)
        if home is None:
            groups.append(home := Group())
        home.courses.append(course)
    groups.sort(key=lambda g: (str(g.courses[0].where), min(c.part for c in g.courses), min(g.names, default="")))
    if groups:
        judged = max(groups, key=_precedence)
        groups.sort(key=lambda g: g is not judged)
    return groups


def _precedence(group: Group) -> tuple[bool, float, int, int]:
    began = max((c.began for c in group.courses if c.began is not None), default=-math.inf)
    return group.points >= _FEWEST_POINTS, began, max(c.part for c in group.courses), group.points


def _one_run(a: Course, b: Course) -> bool:
    if a.where == b.where and a.source == b.source and (a.part != b.part or a.run != b.run):
        return _same(a, b)
    if a.run is not None and b.run is not None and a.run != b.run:
        return False
    shared = _shared(a, b)
    if not shared:
        return _belong_together(a, b)
    if any(len(steps) for _, steps in shared):
        return _same(a, b) or _written_twice(a, b)
    return _one_after_the_other(a, b)


def _belong_together(a: Course, b: Course) -> bool:
    """Whether courses of different quantities are of one run: by its name, by the engine that wrote both, or because
    both hold a single metric, as trackers export them."""
    if a.run is not None and a.run == b.run:
        return True
    if a.where.stem == b.where.stem or (a.engine is not None and a.engine == b.engine):
        return True
    most = max(len(a.series), len(b.series))
    return most <= _OF_ONE_METRIC and (a.engine is None or b.engine is None or a.engine == b.engine)


def _same(a: Course, b: Course) -> bool:
    """Whether two courses say the same wherever both say something."""
    shared = [(key, steps) for key, steps in _shared(a, b) if len(steps) >= _COMMON]
    return bool(shared) and all(_agree(a.series[key], b.series[key]) for key, _ in shared)


def _written_twice(a: Course, b: Course) -> bool:
    """Whether the few steps that two recordings of different kinds share are the same numbers, as of a run that was
    resumed for one or two steps: its console and its file log."""
    shared = [(key, steps) for key, steps in _shared(a, b) if len(steps)]
    if a.source == b.source or any(float(steps[0]) <= _FIRST_STEP for _, steps in shared):
        return False
    pairs = [_common(a.series[key], b.series[key]) for key, _ in shared]
    if any(_denied(a.series[key], b.series[key]) or _denied(b.series[key], a.series[key]) for key, _ in shared):
        return False
    if not all(np.allclose(x, y, rtol=_LAST_DIGIT, atol=0.0) for x, y in pairs):
        return False
    return sum(any(float(f"{v:.{_DIGITS_OF_A_SETTING}g}") != v for v in x.tolist()) for x, _ in pairs) >= _MEASURED


def _shared(a: Course, b: Course) -> list[tuple[str, Floats]]:
    return [(key, np.intersect1d(a.series[key].steps, b.series[key].steps)) for key in a.series if key in b.series]


def _agree(a: Series, b: Series) -> bool:
    if any(_denied(one, other) for one, other in ((a, b), (b, a))):
        return False
    x, y = _common(a, b)
    scale = max(float(np.abs(x).max(initial=0.0)), float(np.abs(y).max(initial=0.0)))
    near = np.abs(x - y) <= _ROUNDING * np.maximum(np.abs(x), np.abs(y)) + _NEXT_TO_NOTHING * scale
    return float(near.mean()) >= _AGREE


def _common(a: Series, b: Series) -> tuple[Floats, Floats]:
    _, own, other = np.intersect1d(a.steps, b.steps, return_indices=True)
    return a.values[own], b.values[other]


def _denied(a: Series, b: Series) -> bool:
    """Whether one has a number where the other broke."""
    return a.broken is not None and b.broken is None and bool((b.steps == a.broken.first_step).any())


def _one_after_the_other(a: Course, b: Course) -> bool:
    """Whether one goes on where the other ended, as a resumed run's second log does."""
    first, last = sorted((_steps(a), _steps(b)), key=lambda steps: float(steps[0]))
    apart = float(np.median(np.diff(first))) if len(first) > 1 else 1.0
    return 0.0 < float(last[0] - first[-1]) <= _GAP * max(apart, 1.0)


def _steps(course: Course) -> Floats:
    return np.unique(np.concatenate([s.steps for s in course.series.values()]))


def _joined(a: Series, b: Series) -> Series:
    """All points of both; where both have one, that of the first."""
    fresh = ~np.isin(b.steps, a.steps)
    if not fresh.any():
        return a if a.broken or not b.broken else replace(a, broken=b.broken)
    steps, values = np.append(a.steps, b.steps[fresh]), np.append(a.values, b.values[fresh])
    order = np.argsort(steps, kind="stable")
    return replace(a, steps=steps[order], values=values[order], broken=a.broken or b.broken)
