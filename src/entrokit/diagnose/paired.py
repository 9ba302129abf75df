"""How much two recipes differ when every seed is a pair: the mean of the differences, Student's interval, the range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .student import student_quantile

_FEW = 3


@dataclass(frozen=True)
class PairedDifference:
    """Differences of pairs, and Student's interval of their mean.

    Whether a difference lies beyond a bound is judged by the interval, whatever the number of pairs. Of three pairs or
    fewer the range of the differences is shown: an interval from so few says more of their number than of them.
    Formatted as ``+0.12 [+0.08, +0.16]``, with what is shown in brackets; `what_is_shown` says which it is.

    Attributes:
        values: one difference a pair. mean, std_error: of them; the error is NaN for one pair.
        low, high: Student's t interval of the mean; NaN for one pair.
        confidence: of the interval, in (0, 1).
    """

    values: tuple[float, ...]
    mean: float
    std_error: float
    low: float
    high: float
    confidence: float

    @property
    def few(self) -> bool:
        """Whether the pairs are three or fewer, so that the range is shown."""
        return len(self.values) <= _FEW

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest difference."""
        return min(self.values), max(self.values)

    @property
    def shown(self) -> tuple[float, float]:
        """The range of up to three pairs, the interval of more."""
        return self.range if self.few else (self.low, self.high)

    def __format__(self, spec: str) -> str:
        spec = spec or "+.3f"
        low, high = self.shown
        return f"{self.mean:{spec}}" + (f" [{low:{spec}}, {high:{spec}}]" if len(self.values) > 1 else "")


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95
) -> PairedDifference:
    """``values - baseline``, pair by pair, with Student's t interval of the mean over pairs.

    The interval, mean ± t · standard error with one degree of freedom less than pairs, covers the true mean in
    ``confidence`` of cases if the differences are independent and roughly normal, however few there are. Of three it
    leans on that most: nothing in three values could show that they are not normal.

    Args:
        values, baseline: one number a pair, in one order. confidence: of the interval.

    Raises:
        ValueError: no pairs, unequal lengths, a number or a difference that is not finite, or a confidence outside
            (0, 1).
    """
    a, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"paired_difference: needs two 1-D lists of one length above 0, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("paired_difference: a value is not finite; leave pairs out that have no measurement")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"paired_difference: confidence must lie in (0, 1), got {confidence}")
    with np.errstate(over="ignore"):
        difference = a - b
    if not np.isfinite(difference).all():
        raise ValueError("paired_difference: a difference is too large for a number")
    mean, error = _mean_and_error(difference.tolist())
    n = len(difference)
    reach = error * student_quantile(confidence, n - 1) if n > 1 else math.nan
    return PairedDifference(tuple(difference.tolist()), mean, error, mean - reach, mean + reach, confidence)


def what_is_shown(differences: Iterable[PairedDifference]) -> str:
    """Names what stands in the brackets of these differences, or in their bars; empty where none has two pairs."""
    several = [d for d in differences if len(d.values) > 1]
    intervals = {f"{100 * d.confidence:g} % Student interval" for d in several if not d.few}
    ranges = {f"range of {len(d.values)} seeds" for d in several if d.few}
    return " or ".join(sorted(intervals) + sorted(ranges))


def _mean_and_error(x: list[float]) -> tuple[float, float]:
    """Mean and standard error, NaN for one value; equal values have an error of exactly 0.

    Values are taken relative to the first, in units of a power of two: then neither rounds, and no square overflows.
    """
    unit = 2.0 ** (math.frexp(max(map(abs, x)))[1] - 1)
    first = x[0] / unit
    rest = np.array(x) / unit - first
    error = float(rest.std(ddof=1)) / math.sqrt(len(x)) * unit if len(x) > 1 else math.nan
    return (first + float(rest.mean())) * unit, error
