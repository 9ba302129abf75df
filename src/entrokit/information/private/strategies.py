"""How many prefixes go on, and which candidates are dropped: the two rules of TAP and TAPS.

Both are reconstructions (the formulas of arXiv 2412.14832 were not available): they are
objects so that the paper's own can take their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._arrays import Floats
from .randomness import Ints


class Extension(Protocol):
    """Chooses how many prefixes a level keeps."""

    def keep(self, estimates: Floats, sd: float, k: int) -> int:
        """Of candidates with these estimated shares, each with this standard deviation at share 0."""
        ...


@dataclass(frozen=True)
class FixedExtension:
    """Exactly k, as in prefix extending by one party (PEM)."""

    def keep(self, estimates: Floats, sd: float, k: int) -> int:
        return min(k, len(estimates))


@dataclass(frozen=True)
class AdaptiveExtension:
    """All that are within ``c`` standard deviations of the k-th, at least k and at most ``cap · k`` [reconstructed]."""

    c: float = 1.0
    cap: float = 2.0

    def __post_init__(self) -> None:
        if not self.cap >= 1:
            raise ValueError(f"AdaptiveExtension.cap: must be at least 1, got {self.cap}")

    def keep(self, estimates: Floats, sd: float, k: int) -> int:
        if len(estimates) <= k:
            return len(estimates)
        kth = np.partition(estimates, -k)[-k]
        near = int((estimates >= kth - self.c * sd).sum())
        return min(max(near, k), int(self.cap * k), len(estimates))


@dataclass(frozen=True)
class History:
    """Pooled estimates of earlier parties at one level.

    Attributes:
        prefixes: sorted, ``[m]``. weighted, users, noise: sums of ``n f̂``, n, and ``n² Var f̂``, ``[m]``.
    """

    prefixes: Ints
    weighted: Floats
    users: Floats
    noise: Floats

    @classmethod
    def empty(cls) -> History:
        none = np.empty(0)
        return cls(np.empty(0, dtype=np.int64), none, none, none)

    def with_party(self, prefixes: Ints, estimates: Floats, n: int, variance: float) -> History:
        """This and one more party's."""
        every = np.union1d(self.prefixes, prefixes)
        sums = np.zeros((3, len(every)))
        sums[:, np.searchsorted(every, self.prefixes)] += np.array([self.weighted, self.users, self.noise])
        added = np.array([n * estimates, np.full(len(prefixes), float(n)), np.full(len(prefixes), n**2 * variance)])
        sums[:, np.searchsorted(every, prefixes)] += added
        return History(every, *sums)


@dataclass(frozen=True)
class ConsensusPruning:
    """Drops candidates that earlier parties found infrequent and a share of the own users does too [reconstructed].

    In our runs it neither helps nor hurts: treat it as experimental.

    Attributes:
        beta: share of a level's users that validate. z: standard deviations of both tests.
    """

    beta: float = 0.2
    z: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.beta < 1:
            raise ValueError(f"ConsensusPruning.beta: must be between 0 and 1, got {self.beta}")

    def suspects(self, candidates: Ints, history: History, k: int) -> NDArray[np.bool_]:
        """Which candidates lie below the pooled k-th of what earlier parties saw by more than z of their errors."""
        if len(history.prefixes) <= k:
            return np.zeros(len(candidates), dtype=bool)
        pooled, sd = history.weighted / history.users, np.sqrt(history.noise) / history.users
        low = pooled < np.partition(pooled, -k)[-k] - self.z * sd
        return np.isin(candidates, history.prefixes[low])

    def dropped(self, suspects: NDArray[np.bool_], validated: Floats, sd: float, k: int) -> NDArray[np.bool_]:
        """Suspects that the own users do not put above the k-th either; k candidates are always left."""
        if len(validated) <= k:
            return np.zeros(len(validated), dtype=bool)
        agreed: NDArray[np.bool_] = suspects & (validated < np.partition(validated, -k)[-k] + self.z * sd)
        spare = len(validated) - k
        if agreed.sum() > spare:
            worst = np.argsort(np.where(agreed, validated, np.inf))[:spare]
            agreed = np.isin(np.arange(len(validated)), worst)
        return agreed
