"""A metric's course: its start, its end, its best stretch, and what of a change is noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from entrokit.runs import Series

_TENTH, _FEWEST = 10, 3


@dataclass(frozen=True)
class Trend:
    """A series at its start and end (means of the first and last tenth, 3 points at least), and its best stretch."""

    steps: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, series: Series) -> Trend:
        return cls(series.steps, series.values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def window(self) -> int:
        return max(_FEWEST, len(self.values) // _TENTH)

    @property
    def start(self) -> float:
        return float(self.values[: self.window].mean())

    @property
    def end(self) -> float:
        return float(self.values[-self.window :].mean())

    @property
    def best(self) -> float:
        return float(self.smooth.max())

    @property
    def ratio(self) -> float:
        """End over start; infinite from a start at 0."""
        return self.end / self.start if self.start > 0 else math.inf

    @property
    def smooth(self) -> np.ndarray:
        """Running means over the window (``valid`` part)."""
        return self.running(self.window)

    def running(self, width: int) -> np.ndarray:
        """Running means over so many points (``valid`` part)."""
        return running_mean(self.values, min(width, len(self.values)))

    def part(self, low: float, high: float) -> np.ndarray:
        """The values between two shares of the run."""
        n = len(self.values)
        return self.values[int(low * n) : max(int(high * n), int(low * n) + 1)]

    def first_step_beyond(self, level: float, *, above: bool) -> float | None:
        """The step at which the smoothed course first passes a level; None if it never does."""
        passed = self.smooth >= level if above else self.smooth <= level
        index = int(passed.argmax())
        return float(self.steps[index + len(self.values) - len(self.smooth)]) if passed.any() else None


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Means ``[N - width + 1]`` over every ``width`` neighbours, in time that grows with ``N`` alone.

    Values stand in blocks of ``width``: a window is the end of one and the beginning of the next, so that nothing is
    ever subtracted and one huge value harms no window but its own.
    """
    n = len(values)
    blocks = np.append(values, np.zeros(-n % width)).reshape(-1, width)
    beginnings = np.cumsum(blocks, axis=1).ravel()
    ends = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    first = np.arange(n - width + 1)
    sums = np.where(first % width == 0, ends[first], ends[first] + beginnings[first + width - 1])
    return np.asarray(sums / width)


def noise(course: Trend) -> float:
    """Standard error of a tenth's mean, from point to point."""
    if len(course) < 3:
        return 0.0
    return float(np.diff(course.values).std() / 2**0.5 / course.window**0.5)


def onset_of(course: Trend, level: float, *, above: bool) -> float | None:
    """The step from which on the smoothed course stays beyond a level to its end; None if it ends on this side."""
    smooth = course.smooth
    inside = np.flatnonzero(smooth < level if above else smooth > level)
    if len(inside) and inside[-1] == len(smooth) - 1:
        return None
    first = int(inside[-1]) + 1 if len(inside) else 0
    return float(course.steps[first + (len(course) - len(smooth)) // 2])


def gain_since(course: Trend, step: float) -> float:
    """How much a course has gained from just before a step to its end; 0 with too few points on either side."""
    earlier = course.values[course.steps <= step][-course.window :]
    if not len(earlier):
        earlier = course.values[: course.window]
    return course.end - float(earlier.mean())


def late_gain(course: Trend, since: float) -> tuple[float, float]:
    """Gain over the last part of a run by a straight line, and its standard error.

    Neighbours of a run are alike: the number of points counts for fewer, by their correlation.

    Args:
        since: share of the run at which the part begins.
    """
    values = course.part(since, 1.0)
    n = len(values)
    if n < 4:
        return 0.0, math.inf
    x = np.linspace(-0.5, 0.5, n)
    slope, level = np.polyfit(x, values, 1)
    rest = values - level - slope * x
    spread = float(rest.std(ddof=2))
    if spread <= 1e-15:
        return float(slope), 0.0
    alike = min(max(correlation(rest[1:], rest[:-1]), 0.0), 0.95)
    counted = max(n * (1.0 - alike) / (1.0 + alike), 2.0)
    return float(slope), spread * (12.0 / counted) ** 0.5


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, of two courses ``[N]``; 0 where one of them hardly moves."""
    da, db = a - a.mean(), b - b.mean()
    wide, high = float(np.abs(da).max(initial=0.0)), float(np.abs(db).max(initial=0.0))
    if min(wide, high) <= 1e-100:
        return 0.0
    da, db = da / wide, db / high
    return float((da * db).sum() / ((da * da).sum() * (db * db).sum()) ** 0.5)
