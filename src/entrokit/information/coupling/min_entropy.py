"""Minimum-entropy coupling of two marginals, greedily.

Of all joint laws with marginals p and q, the one of least entropy makes X and Y tell most of each other. Finding it is
NP-hard; the greedy that always couples the two largest masses is within ``log2(e) / e`` = 0.53 bits of the lower bound
that no coupling passes (`majorization_bound_bits`; Compton, Katz, Qi, Greenewald, Kocaoglu, 2023). As used in Minimum
Entropy Coupling with Bottleneck (arXiv 2410.21666), in bits. Heaps: O((n + m) log(n + m)).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Floats
from .pmf import entropy_bits, pmf

GREEDY_GAP_BITS = math.log2(math.e) / math.e
METHODS = ("max", "zero")

# (x, y, mass) of a cell.
_Cell = tuple[int, int, float]


@dataclass(frozen=True)
class Coupling:
    """A joint law by its cells; at most n + m - 1 of them hold mass.

    Attributes:
        x, y: ``[K]`` int64, indices of each cell. mass: ``[K]``. shape: ``(n, m)``.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    mass: Floats
    shape: tuple[int, int]

    def dense(self) -> Floats:
        """The joint as a matrix ``[n, m]``."""
        joint = np.zeros(self.shape)
        np.add.at(joint, (self.x, self.y), self.mass)
        return joint

    @property
    def entropy_bits(self) -> float:
        """H(X, Y)."""
        return entropy_bits(self.mass)

    @property
    def information_bits(self) -> float:
        """I(X; Y)."""
        left, right = (np.bincount(i, self.mass, n) for i, n in zip((self.x, self.y), self.shape, strict=True))
        return max(0.0, entropy_bits(left) + entropy_bits(right) - self.entropy_bits)


def min_entropy_coupling(p: ArrayLike, q: ArrayLike, method: str = "max", tol: float = 1e-12) -> Coupling:
    """A coupling of little entropy.

    Args:
        p: ``[n]``, q: ``[m]``, probabilities.
        method: ``max`` couples the largest remaining masses (within `GREEDY_GAP_BITS` of the best), ``zero`` the two
            that are nearest to each other. Ties go to the lowest index.
        tol: a rest of a mass that is dropped as rounding; the marginals are exact to it.

    Raises:
        ValueError: no probabilities, or an unknown method.
    """
    left, right = pmf(p, "min_entropy_coupling: p"), pmf(q, "min_entropy_coupling: q")
    if method not in METHODS:
        raise ValueError(f"min_entropy_coupling: unknown method {method!r}; valid names are {list(METHODS)}")
    cells = list((_largest if method == "max" else _nearest)(left, right, tol))
    x, y, mass = zip(*cells, strict=True)
    return Coupling(np.array(x), np.array(y), np.array(mass), (len(left), len(right)))


def majorization_bound_bits(p: ArrayLike, q: ArrayLike) -> float:
    """Entropy of the greatest lower bound of p and q in majorization: no coupling of them has less (in bits)."""
    left, right = (np.sort(pmf(x, "majorization_bound_bits"))[::-1] for x in (p, q))
    size = max(len(left), len(right))
    cumulated = [np.pad(x, (0, size - len(x))).cumsum() for x in (left, right)]
    return entropy_bits(np.diff(np.minimum(*cumulated), prepend=0.0).clip(min=0.0))


def _largest(p: Floats, q: Floats, tol: float) -> Iterator[_Cell]:
    xs, ys = ([(-mass, i) for i, mass in enumerate(side) if mass > 0] for side in (p, q))
    heapq.heapify(xs)
    heapq.heapify(ys)
    while xs and ys:
        (a, x), (b, y) = xs[0], ys[0]
        mass = min(-a, -b)
        yield x, y, mass
        # Equal up to rounding, both go: a residue of 1e-17 would be a cell of its own.
        for heap, left, index in ((xs, -a - mass, x), (ys, -b - mass, y)):
            if left > tol:
                heapq.heapreplace(heap, (-left, index))
            else:
                heapq.heappop(heap)


def _nearest(p: Floats, q: Floats, tol: float) -> Iterator[_Cell]:
    """Both sides in one sorted row: the nearest pair of an x and a y is one of neighbours."""
    # (mass, side, index), side 0 for x.
    row = sorted((mass, side, i) for side, masses in enumerate((p, q)) for i, mass in enumerate(masses) if mass > 0)
    live = set(row)
    heap = [h for pair in pairwise(row) if (h := _gap(*pair)) is not None]
    heapq.heapify(heap)
    while heap:
        _, _, _, one, other = heapq.heappop(heap)
        if one not in live or other not in live:
            continue
        (a, _, x), (b, _, y) = one, other
        mass = min(a, b)
        yield x, y, mass
        for entry in (one, other):
            place = bisect_left(row, entry)
            del row[place]
            live.discard(entry)
            if 0 < place < len(row):
                _push(heap, row[place - 1], row[place])
            rest = (entry[0] - mass, entry[1], entry[2])
            if rest[0] > tol:
                insort(row, rest)
                live.add(rest)
                place = bisect_left(row, rest)
                if place > 0:
                    _push(heap, row[place - 1], rest)
                if place + 1 < len(row):
                    _push(heap, rest, row[place + 1])


_Entry = tuple[float, int, int]


def _gap(a: _Entry, b: _Entry) -> tuple[float, int, int, _Entry, _Entry] | None:
    if a[1] == b[1]:
        return None
    x, y = (a, b) if a[1] == 0 else (b, a)
    return abs(a[0] - b[0]), x[2], y[2], x, y


def _push(heap: list[tuple[float, int, int, _Entry, _Entry]], a: _Entry, b: _Entry) -> None:
    gap = _gap(a, b)
    if gap is not None:
        heapq.heappush(heap, gap)
