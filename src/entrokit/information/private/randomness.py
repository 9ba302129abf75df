"""Where the noise comes from: the operating system's cryptographic source, or a seed for experiments."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._arrays import Floats

Ints = NDArray[np.int64]


class RandomSource(Protocol):
    """What oracles draw from.

    Attributes:
        secure: whether nobody can foretell the draws; otherwise what was randomised with them is not private.
    """

    secure: bool

    def random(self, size: int | tuple[int, ...]) -> Floats:
        """Uniform on [0, 1), multiples of 2^-53."""
        ...

    def integers(self, high: int, size: int) -> Ints:
        """Uniform on 0 to ``high - 1``."""
        ...

    def permutation(self, n: int) -> Ints:
        """A uniform order of n things."""
        ...


class SecureSource:
    """Draws from ``os.urandom``; the default everywhere."""

    secure = True

    def random(self, size: int | tuple[int, ...]) -> Floats:
        n = int(np.prod(size))
        bits = np.frombuffer(os.urandom(8 * n), dtype=np.uint64) >> np.uint64(11)
        return (bits.astype(np.float64) * 2.0**-53).reshape(size)

    def integers(self, high: int, size: int) -> Ints:
        # What lies beyond the last multiple of high would make small numbers likelier: it is drawn again.
        limit = (2**63 // high) * high
        found = np.empty(0, dtype=np.int64)
        while len(found) < size:
            drawn = (np.frombuffer(os.urandom(8 * size), dtype=np.uint64) >> np.uint64(1)).astype(np.int64)
            found = np.concatenate([found, drawn[drawn < limit] % high])
        return found[:size]

    def permutation(self, n: int) -> Ints:
        return np.argsort(self.random(n), kind="stable").astype(np.int64)


class SeededSource:
    """Repeatable draws for experiments and tests: whoever knows the seed undoes the noise."""

    secure = False

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def random(self, size: int | tuple[int, ...]) -> Floats:
        return self._rng.random(size)

    def integers(self, high: int, size: int) -> Ints:
        return self._rng.integers(high, size=size)

    def permutation(self, n: int) -> Ints:
        return self._rng.permutation(n)
