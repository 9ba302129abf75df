"""Frequency oracles under ε-local differential privacy: each user says one noisy thing, and shares can still be told.

The standard mechanisms that arXiv 2412.14832 builds on. A user's own item is supported with
probability p, any other with q; of n reports of which C support an item, its share is estimated without bias as

    f̂ = (C/n - q) / (p - q),    Var f̂ = [f p(1-p) + (1-f) q(1-q)] / (n (p - q)²)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Floats
from .randomness import Ints, RandomSource, SecureSource


class FrequencyOracle(ABC):
    """One mechanism on a domain of items 0 to ``d - 1``.

    Args:
        d: at least 1. epsilon: the budget that one report spends, above 0.
        outside: whether users may hold none of these items, which is written -1.

    Attributes:
        p, q: see above.
    """

    name: ClassVar[str]
    p: float
    q: float

    def __init__(self, d: int, epsilon: float, *, outside: bool = False) -> None:
        if d < 1:
            raise ValueError(f"{self.name}: the domain must hold at least one item, got d={d}")
        if not (epsilon > 0 and math.isfinite(epsilon)):
            raise ValueError(f"{self.name}: epsilon must be finite and above 0, got {epsilon}")
        self.d, self.epsilon, self.outside = d, epsilon, outside

    @abstractmethod
    def randomize(self, x: ArrayLike, source: RandomSource | None = None) -> NDArray[np.generic]:
        """What users with items ``[n]`` say; one row each. Secure randomness by default."""

    @abstractmethod
    def aggregate(self, reports: NDArray[np.generic]) -> Ints:
        """How many reports support each item, ``[d]``."""

    @abstractmethod
    def likelihood(self, reports: NDArray[np.generic], x: int) -> Floats:
        """Probability of each report for a user with item ``x``; of the noise alone where a report names a hash."""

    def estimate(self, counts: ArrayLike, n: int) -> Floats:
        """Shares ``[d]`` from supporting reports among n; unbiased, so they may leave [0, 1]: clip only for display."""
        if n < 1:
            raise ValueError(f"{self.name}: an estimate needs reports, got n={n}")
        return (np.asarray(counts, dtype=np.float64) / n - self.q) / (self.p - self.q)

    def variance(self, f: ArrayLike, n: int) -> Floats:
        """Of the estimate at true shares f from n reports."""
        f = np.asarray(f, dtype=np.float64)
        noise = f * self.p * (1.0 - self.p) + (1.0 - f) * self.q * (1.0 - self.q)
        found: Floats = noise / (n * (self.p - self.q) ** 2)
        return found

    def surprise(self, shares: ArrayLike, n: int) -> Floats:
        """How hard it is for chance to make n reports say such shares of items that nobody holds, in nats.

        The probability of an estimate at least as large is at most ``exp(-surprise)``: the supporting reports are n
        independent draws of chance q, and Chernoff's bound is ``n KL(C/n | q)``. 0 for shares of at most 0.
        """
        support = (self.q + (self.p - self.q) * np.asarray(shares, dtype=np.float64)).clip(self.q, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            against = np.where(support < 1.0, (1.0 - support) * np.log((1.0 - support) / (1.0 - self.q)), 0.0)
        found: Floats = n * (support * np.log(support / self.q) + against).clip(min=0.0)
        return found

    def _items(self, x: ArrayLike) -> Ints:
        items, least = np.asarray(x, dtype=np.int64), -1 if self.outside else 0
        if items.ndim != 1 or (len(items) and (items.min() < least or items.max() >= self.d)):
            raise ValueError(f"{self.name}: items must be [n] integers from {least} to {self.d - 1}")
        return items


class KRR(FrequencyOracle):
    """k-ary randomised response: the item itself with p, any other with q. Best for d below ``3 e^ε + 2``.

    "None of these" is one more thing to say: without it, whoever holds none would have to lie.
    """

    name = "krr"

    def __init__(self, d: int, epsilon: float, *, outside: bool = False) -> None:
        super().__init__(d, epsilon, outside=outside)
        self._words = d + outside
        # In e^-ε: a large ε must not overflow.
        self.p = 1.0 / (1.0 + (self._words - 1) * math.exp(-epsilon))
        self.q = self.p * math.exp(-epsilon)

    def randomize(self, x: ArrayLike, source: RandomSource | None = None) -> Ints:
        x, source = self._items(x) % self._words, source or SecureSource()
        lie = source.random(len(x)) >= self.p
        other = source.integers(max(self._words - 1, 1), len(x))
        return np.where(lie & (self._words > 1), other + (other >= x), x)

    def aggregate(self, reports: NDArray[np.generic]) -> Ints:
        return np.bincount(np.asarray(reports, dtype=np.int64), minlength=self._words)[: self.d]

    def likelihood(self, reports: NDArray[np.generic], x: int) -> Floats:
        return np.where(np.asarray(reports) == x % self._words, self.p, self.q)

    def simulate(self, counts: ArrayLike, n: int, rng: np.random.Generator) -> Ints:
        """As for `OUE`; users beyond the counts are outside."""
        true = np.asarray(counts, dtype=np.int64)
        if true.sum() != n and not self.outside:
            raise ValueError(f"krr: counts add up to {true.sum()} of {n} users; the rest needs outside=True")
        true = np.append(true, n - true.sum())[: self._words]
        found: Ints = rng.binomial(true, self.p)
        for item, lies in enumerate(true - found):
            if lies:
                others = np.full(self._words, 1.0 / (self._words - 1))
                others[item] = 0.0
                found += rng.multinomial(lies, others)
        return found[: self.d]


class OUE(FrequencyOracle):
    """Optimised unary encoding: a bit for every item; one's own stays 1 half the time, others flip to 1 with q."""

    name = "oue"

    def __init__(self, d: int, epsilon: float, *, outside: bool = False) -> None:
        super().__init__(d, epsilon, outside=outside)
        self.p, self.q = 0.5, math.exp(-epsilon) / (1.0 + math.exp(-epsilon))

    def randomize(self, x: ArrayLike, source: RandomSource | None = None) -> NDArray[np.bool_]:
        x, source = self._items(x), source or SecureSource()
        chance = np.full((len(x), self.d), self.q)
        inside = np.nonzero(x >= 0)[0]
        chance[inside, x[inside]] = self.p
        bits: NDArray[np.bool_] = source.random((len(x), self.d)) < chance
        return bits

    def aggregate(self, reports: NDArray[np.generic]) -> Ints:
        counts: Ints = np.asarray(reports, dtype=bool).sum(0, dtype=np.int64)
        return counts

    def likelihood(self, reports: NDArray[np.generic], x: int) -> Floats:
        chance = np.full(self.d, self.q)
        if x >= 0:
            chance[x] = self.p
        found: Floats = np.where(np.asarray(reports, dtype=bool), chance, 1.0 - chance).prod(1)
        return found

    def simulate(self, counts: ArrayLike, n: int, rng: np.random.Generator) -> Ints:
        """Supporting reports ``[d]`` of n users with these true counts, none of them drawn; for experiments."""
        counts = np.asarray(counts, dtype=np.int64)
        found: Ints = rng.binomial(counts, self.p) + rng.binomial(n - counts, self.q)
        return found
