"""Two runs' courses of a metric on common steps, whatever their logging intervals; never beyond what both cover."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from entrokit.runs.series import Floats, Series

# Longer courses are compared by means over windows: the running medians cost their length times their width.
_MOST = 4000
# Numbers that were printed with 6 digits differ by up to half of the last of them.
_SAME = 5.1e-6


@dataclass(frozen=True)
class Pair:
    """Two courses on common steps: ``steps``, ``a``, ``b``, all ``[N]``. how: how the steps were brought together."""

    steps: Floats
    a: Floats
    b: Floats
    how: str

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def difference(self) -> Floats:
        """``a - b``, with 0 where they are the same up to rounding."""
        gap = self.a - self.b
        return np.where(np.abs(gap) <= _SAME * np.maximum(np.abs(self.a), np.abs(self.b)), 0.0, gap)


def aligned(a: Series, b: Series) -> Pair:
    """Brings two series to common steps, within the steps that both cover.

    Common steps are taken as they are. Where logging intervals differ, the denser run's values are averaged over each
    interval of the sparser one; where only the steps are offset, ``b`` is interpolated at the steps of ``a``, and never
    across a gap.
    """
    empty = Pair(np.zeros(0), np.zeros(0), np.zeros(0), "no common steps")
    if not len(a) or not len(b):
        return empty
    low, high = max(a.steps[0], b.steps[0]), min(a.steps[-1], b.steps[-1])
    if low > high:
        return empty
    (sa, va), (sb, vb) = _within(a, low, high), _within(b, low, high)
    common, ia, ib = np.intersect1d(sa, sb, return_indices=True)
    if len(common) >= 0.8 * max(len(sa), len(sb)):
        return _coarser(Pair(common, va[ia], vb[ib], "common steps"))
    every_a, every_b = _interval(a.steps), _interval(b.steps)
    if max(every_a, every_b) > 1.5 * min(every_a, every_b):
        if every_a > every_b:
            steps, own, other = _averaged(sa, va, sb, vb)
            pair = Pair(steps, own, other, f"means over {every_a:g} steps")
        else:
            steps, own, other = _averaged(sb, vb, sa, va)
            pair = Pair(steps, other, own, f"means over {every_b:g} steps")
        return _coarser(pair)
    if not len(sa) or not len(sb):
        return empty
    right = np.clip(np.searchsorted(b.steps, sa), 1, max(1, len(b) - 1))
    near = (b.steps[min(1, len(b) - 1) :][right - 1] - b.steps[right - 1]) <= 2 * every_b if len(b) > 1 else sa == sb[0]
    return _coarser(Pair(sa[near], va[near], np.interp(sa[near], b.steps, b.values), "interpolation"))


def _within(series: Series, low: float, high: float) -> tuple[Floats, Floats]:
    inside = (series.steps >= low) & (series.steps <= high)
    return series.steps[inside], series.values[inside]


def _interval(steps: Floats) -> float:
    return float(np.median(np.diff(steps))) if len(steps) > 1 else math.inf


def _averaged(steps: Floats, values: Floats, dense: Floats, fine: Floats) -> tuple[Floats, Floats, Floats]:
    """Means of ``fine`` over the steps since the last of ``steps``; points without any are left out."""
    owner = np.searchsorted(steps, dense)
    kept = owner < len(steps)
    count = np.bincount(owner[kept], minlength=len(steps))
    sums = np.bincount(owner[kept], weights=fine[kept], minlength=len(steps))
    has = count > 0
    return steps[has], values[has], sums[has] / count[has]


def _coarser(pair: Pair) -> Pair:
    if len(pair) <= _MOST:
        return pair
    by = -(-len(pair) // _MOST)
    starts = np.arange(0, len(pair), by)
    count = np.diff(np.append(starts, len(pair)))
    a, b = (np.add.reduceat(x, starts) / count for x in (pair.a, pair.b))
    return Pair(pair.steps[starts], a, b, f"means over {by} points")
