"""Optimised local hashing: a report of constant size, however large the domain."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Floats
from .oracles import FrequencyOracle
from .randomness import Ints, RandomSource, SecureSource

_PRIME = 2**31 - 1


class OLH(FrequencyOracle):
    """The item hashed to ``round(e^ε) + 1`` values, and those by randomised response.

    A report ``[3]`` is a hash function of the user's own (two numbers) and a value.
    """

    name = "olh"

    def __init__(self, d: int, epsilon: float, *, outside: bool = False) -> None:
        super().__init__(d, epsilon, outside=outside)
        if d >= _PRIME:
            raise ValueError(f"olh: d must be below 2^31 - 1, got {d}")
        self.g = round(math.exp(min(epsilon, 20.0))) + 1
        self.p = 1.0 / (1.0 + (self.g - 1) * math.exp(-epsilon))
        self.q = 1.0 / self.g

    def randomize(self, x: ArrayLike, source: RandomSource | None = None) -> Ints:
        x, source = self._items(x), source or SecureSource()
        keys = source.integers(_PRIME, 2 * len(x)).reshape(-1, 2)
        hashed = self._hash(keys, x)
        lie = source.random(len(x)) >= self.p
        other = source.integers(self.g - 1, len(x))
        return np.column_stack([keys, np.where(lie, other + (other >= hashed), hashed)])

    def aggregate(self, reports: NDArray[np.generic]) -> Ints:
        said = np.asarray(reports, dtype=np.int64)
        return np.array([(self._hash(said, v) == said[:, 2]).sum() for v in range(self.d)], dtype=np.int64)

    def likelihood(self, reports: NDArray[np.generic], x: int) -> Floats:
        said = np.asarray(reports, dtype=np.int64)
        return np.where(self._hash(said, x) == said[:, 2], self.p, (1.0 - self.p) / (self.g - 1))

    def _hash(self, keys: Ints, x: ArrayLike) -> Ints:
        """Carter and Wegman's; whoever is outside holds an item that nobody asks for. No product passes 2^62."""
        item = np.asarray(x, dtype=np.int64) % (self.d + 1)
        found: Ints = (keys[:, 0] * item + keys[:, 1]) % _PRIME % self.g
        return found
