"""How much two recipes differ when every seed is a pair: the mean of the differences and its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 10_000


@dataclass(frozen=True)
class PairedDifference:
    """Differences of pairs, and an interval of their mean.

    Attributes:
        values: one difference a pair. mean: of them.
        low, high: percentile bootstrap interval of the mean over pairs. Of three pairs, 95 % is the smallest and the
            largest difference; of one there is no interval, and both are NaN.
        confidence: of the interval, in (0, 1).
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    confidence: float

    @property
    def std_error(self) -> float:
        """Standard error of the mean; NaN for one pair."""
        n = len(self.values)
        return float(np.std(self.values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")

    def __format__(self, spec: str) -> str:
        spec = spec or "+.3f"
        interval = f" [{self.low:{spec}}, {self.high:{spec}}]" if len(self.values) > 1 else ""
        return f"{self.mean:{spec}}{interval}"


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95, seed: int = 0
) -> PairedDifference:
    """``values - baseline``, pair by pair, with a percentile bootstrap interval of the mean over pairs.

    Args:
        values, baseline: one number a pair, in one order. confidence: of the interval. seed: of the resampling.

    Raises:
        ValueError: no pairs, unequal lengths, a number that is not finite, or a confidence outside (0, 1).
    """
    a, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"paired_difference: needs two 1-D lists of one length above 0, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("paired_difference: a value is not finite; leave pairs out that have no measurement")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"paired_difference: confidence must lie in (0, 1), got {confidence}")
    difference = a - b
    low = high = float("nan")
    if len(difference) > 1:
        drawn = np.random.default_rng(seed).integers(len(difference), size=(_RESAMPLES, len(difference)))
        tail = (1.0 - confidence) / 2.0
        low, high = (float(x) for x in np.quantile(difference[drawn].mean(1), [tail, 1.0 - tail]))
    return PairedDifference(tuple(difference.tolist()), float(difference.mean()), low, high, confidence)
