"""Optimised local hashing: for domains too large to send a bit for every item."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .oracles import FrequencyOracle
from .randomness import Floats, Ints, RandomSource, SecureSource

_PRIME = np.uint64(2**31 - 1)


class OLH(FrequencyOracle):
    """Optimised local hashing: the item hashed to ``round(e^ε) + 1`` values, and those by randomised response.

    Items may be any integers from 0 to 2^62 - 1, whatever d; a report ``[4]`` is a hash (three numbers) and a value.
    """

    name = "olh"

    def __init__(self, d: int, epsilon: float) -> None:
        super().__init__(d, epsilon)
        self.g = round(math.exp(min(epsilon, 20.0))) + 1
        self.p = 1.0 / (1.0 + (self.g - 1) * math.exp(-epsilon))
        self.q = 1.0 / self.g

    def randomize(self, x: ArrayLike, source: RandomSource | None = None) -> NDArray[np.uint64]:
        x, source = np.asarray(x, dtype=np.int64), source or SecureSource()
        if x.ndim != 1 or (len(x) and (x.min() < 0 or x.max() >= 2**62)):
            raise ValueError("olh: items must be [n] integers from 0 to 2^62 - 1")
        keys = source.integers(int(_PRIME), 3 * len(x)).astype(np.uint64).reshape(-1, 3)
        hashed = self._hash(keys, x).astype(np.int64)
        lie = source.random(len(x)) >= self.p
        other = source.integers(max(self.g - 1, 1), len(x))
        said = np.where(lie, other + (other >= hashed), hashed)
        return np.column_stack([keys, said.astype(np.uint64)])

    def aggregate(self, reports: NDArray[np.generic], candidates: ArrayLike | None = None) -> Ints:
        """How many reports support each of the candidates, ``[d]``; 0 to d - 1 by default."""
        items = np.arange(self.d) if candidates is None else np.asarray(candidates, dtype=np.int64)
        rows = np.asarray(reports, dtype=np.uint64)
        return np.array([(self._hash(rows[:, :3], v) == rows[:, 3]).sum() for v in items], dtype=np.int64)

    def likelihood(self, reports: NDArray[np.generic], x: int) -> Floats:
        rows = np.asarray(reports, dtype=np.uint64)
        lie = (1.0 - self.p) / (self.g - 1)
        return np.where(self._hash(rows[:, :3], x) == rows[:, 3], self.p, lie)

    def _hash(self, keys: NDArray[np.uint64], x: ArrayLike) -> NDArray[np.uint64]:
        """Carter and Wegman's on two halves of 31 bits: no sum passes 2^64."""
        items = np.asarray(x, dtype=np.uint64)
        low, high = items & np.uint64(2**31 - 1), items >> np.uint64(31)
        found: NDArray[np.uint64] = (keys[:, 0] * low + keys[:, 1] * high + keys[:, 2]) % _PRIME % np.uint64(self.g)
        return found
