"""The most frequent items of many parties' users, each of whom gives one ε-private report.

Federated Heavy Hitter Analytics with Local Differential Privacy (arXiv 2412.14832). Items are m bits; prefixes grow by
levels, and every level asks users of its own, with their whole budget. The first levels are one tree for all parties
(phase I); then each party grows its own and uploads its top k (phase II), which the server adds up.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Floats
from .choice import ORACLES, best_oracle
from .ledger import PrivacyLedger
from .oracles import FrequencyOracle
from .randomness import Ints, RandomSource, SecureSource
from .strategies import AdaptiveExtension, ConsensusPruning, Extension, History

# Bits of reports that are held at a time.
_HELD = 2**21
# Chance that a run marks any item that nobody holds as above noise.
_FALSE = 0.05


@dataclass(frozen=True)
class Level:
    """What a party said at a level.

    Attributes:
        party: None for all. level: from 1. length: of the prefixes, in bits. domain: candidates. users: reports.
        sd: of an estimated share at 0. kept: prefixes that went on.
    """

    party: int | None
    level: int
    length: int
    domain: int
    users: int
    sd: float
    kept: int


@dataclass(frozen=True)
class _Upload:
    """What is known of an item: users times share, the users it speaks for, variance of the first, and surprise."""

    mass: float
    covered: int
    noise: float
    surprise: float

    def __add__(self, other: _Upload) -> _Upload:
        surprise = max(self.surprise, other.surprise)
        return _Upload(self.mass + other.mass, self.covered + other.covered, self.noise + other.noise, surprise)


class PrefixTreeHeavyHitters:
    """TAP, with ``pruning`` TAPS, and with no shared level and `FixedExtension` the baseline FedPEM.

    Args:
        k: items to find. bits: m of an item. levels: g, at most m. shared_levels: of phase I, below g or equal.
        epsilon: budget of a user, spent in one report. oracle: "oue", "krr", "olh", or "auto" for the better of the
            first two at each level.
        extension: how many prefixes go on. pruning: None, or which candidates later parties drop.
        source: of randomness; the operating system's by default. `SeededSource` is for experiments only.

    Attributes:
        items_: ``[k]``, most frequent first (fewer if fewer candidates were left). Where fewer than k distinct items
            are held, or k asks for more than the budget can tell, the last are noise: `above_noise_` says which.
        frequencies_: ``[k]``, estimated shares of the users of all parties that were heard; an item counts 0 for a
            party that did not upload it, so they are low. standard_errors_: ``[k]``, of these, at share 0.
        above_noise_: ``[k]`` bool, whether the last level of a party (or of all, if it is shared) supports the item
            more than chance supports any candidate that nobody holds: in 19 of 20 runs no such item is marked. One
            standard error would not do, since the largest of many noises lies beyond it.
        covered_: ``[k]``, share of the heard users whose party uploaded the item.
        skipped_: parties with fewer users than levels, which were not heard. report_: of each level. ledger_: what
            users spent.
    """

    def __init__(
        self,
        k: int = 10,
        bits: int = 16,
        levels: int = 8,
        shared_levels: int = 2,
        epsilon: float = 4.0,
        oracle: str = "oue",
        extension: Extension | None = None,
        pruning: ConsensusPruning | None = None,
        source: RandomSource | None = None,
    ) -> None:
        if k < 1 or not 1 <= levels <= bits <= 62 or not 0 <= shared_levels <= levels:
            raise ValueError(
                "PrefixTreeHeavyHitters: needs k >= 1, 1 <= levels <= bits <= 62 and shared_levels from 0 to levels; "
                f"got k={k}, levels={levels}, bits={bits}, shared_levels={shared_levels}"
            )
        if oracle not in (*ORACLES, "auto"):
            raise ValueError(f"PrefixTreeHeavyHitters: oracle must be one of {[*ORACLES, 'auto']}, got {oracle!r}")
        if not (epsilon > 0 and np.isfinite(epsilon)):
            raise ValueError(f"PrefixTreeHeavyHitters: epsilon must be finite and above 0, got {epsilon}")
        self.k, self.bits, self.levels, self.shared_levels = k, bits, levels, shared_levels
        self.epsilon, self.oracle, self.pruning = epsilon, oracle, pruning
        self.extension = extension if extension is not None else AdaptiveExtension()
        self.source = source if source is not None else SecureSource()

    def fit(self, parties: Sequence[ArrayLike]) -> PrefixTreeHeavyHitters:
        """Runs the protocol on the items of each party's users, ``[n_i]`` integers below ``2**bits``.

        A party with fewer users than levels cannot answer at each of them: it is left out, with a warning.

        Raises:
            ValueError: no party, none with as many users as levels, or an item out of range.
        """
        users = [self._checked(i, p) for i, p in enumerate(parties)]
        heard = self._heard(users)
        self.ledger_ = PrivacyLedger([len(u) for u in users], self.epsilon)
        self.report_: list[Level] = []
        groups = {i: np.array_split(self.source.permutation(len(users[i])), self.levels) for i in heard}
        prefixes = np.zeros(1, dtype=np.int64)
        uploads: list[tuple[int, _Upload]] = []
        for level in range(1, self.shared_levels + 1):
            uploads = self._shared(level, prefixes, users, groups)
            prefixes = np.array([item for item, _ in uploads], dtype=np.int64)
        if self.shared_levels < self.levels:
            histories = [History.empty() for _ in range(self.levels + 1)]
            largest_first = sorted(heard, key=lambda i: -len(users[i]))
            uploads = [u for i in largest_first for u in self._alone(i, prefixes, users[i], groups[i], histories)]
        self._rank(uploads, sum(len(users[i]) for i in heard))
        return self

    def _checked(self, party: int, items: ArrayLike) -> Ints:
        found = np.asarray(items)
        # An empty list is an array of floats.
        right_type = found.dtype.kind in "iu" or not found.size
        if found.ndim != 1 or not right_type or not ((found >= 0) & (found < 2**self.bits)).all():
            raise ValueError(f"party {party}: items must be [n] integers from 0 to 2^{self.bits} - 1")
        return found.astype(np.int64)

    def _heard(self, users: list[Ints]) -> list[int]:
        """The parties with a user for each level; says which are not."""
        if not users:
            raise ValueError("PrefixTreeHeavyHitters.fit: no party")
        self.skipped_ = tuple(i for i, u in enumerate(users) if len(u) < self.levels)
        small = ", ".join(f"party {i} ({len(users[i])} users)" for i in self.skipped_)
        if len(self.skipped_) == len(users):
            raise ValueError(
                f"PrefixTreeHeavyHitters.fit: no party has a user for each of {self.levels} levels: {small}; use fewer "
                "levels, or put parties together"
            )
        if self.skipped_:
            warnings.warn(
                f"PrefixTreeHeavyHitters.fit: left out {small}: fewer users than the {self.levels} levels, each of "
                "which asks some; use fewer levels to hear them",
                stacklevel=3,
            )
        return [i for i in range(len(users)) if i not in self.skipped_]

    def _length(self, level: int) -> int:
        return -(-level * self.bits // self.levels)

    def _candidates(self, prefixes: Ints, level: int) -> Ints:
        grown = self._length(level) - self._length(level - 1)
        return ((np.sort(prefixes) << grown)[:, None] | np.arange(1 << grown)).ravel()

    def _oracle(self, candidates: Ints) -> FrequencyOracle:
        name = best_oracle(len(candidates), self.epsilon) if self.oracle == "auto" else self.oracle
        return ORACLES[name](len(candidates), self.epsilon, outside=True)

    def _ask(
        self, party: int, users: Ints, values: Ints, candidates: Ints, level: int
    ) -> tuple[Floats, FrequencyOracle]:
        """Estimated shares of the candidates, from one report of each user, and what they were told by."""
        self.ledger_.charge(party, users, self.epsilon)
        own = values[users] >> (self.bits - self._length(level))
        place = np.searchsorted(candidates, own).clip(max=len(candidates) - 1)
        index = np.where(candidates[place] == own, place, -1)
        oracle = self._oracle(candidates)
        counts = np.zeros(oracle.d, dtype=np.int64)
        for part in np.array_split(index, -(-len(users) * oracle.d // _HELD)):
            counts += oracle.aggregate(oracle.randomize(part, self.source))
        return oracle.estimate(counts, len(users)), oracle

    def _shared(
        self, level: int, prefixes: Ints, users: list[Ints], groups: dict[int, list[Ints]]
    ) -> list[tuple[int, _Upload]]:
        candidates, represented = self._candidates(prefixes, level), sum(len(users[i]) for i in groups)
        total, n = np.zeros(len(candidates)), 0
        for party, own in groups.items():
            group = own[level - 1]
            shares, _ = self._ask(party, group, users[party], candidates, level)
            total, n = total + len(group) * shares, n + len(group)
        return self._keep(None, level, candidates, total / n, self._oracle(candidates), n, represented)

    def _alone(
        self, party: int, prefixes: Ints, values: Ints, groups: list[Ints], histories: list[History]
    ) -> list[tuple[int, _Upload]]:
        """A party's own levels; what it uploads: its top k."""
        uploads: list[tuple[int, _Upload]] = []
        for level in range(self.shared_levels + 1, self.levels + 1):
            candidates, group = self._candidates(prefixes, level), groups[level - 1]
            if self.pruning is not None:
                suspects = self.pruning.suspects(candidates, histories[level], self.k)
                asked = int(self.pruning.beta * len(group)) if suspects.any() else 0
                if asked:
                    # Who validates has reported: the others estimate.
                    validated, oracle = self._ask(party, group[:asked], values, candidates, level)
                    sd = math.sqrt(float(oracle.variance(0.0, asked)))
                    dropped = self.pruning.dropped(suspects, validated, sd, self.k)
                    candidates, group = candidates[~dropped], group[asked:]
            shares, oracle = self._ask(party, group, values, candidates, level)
            variance = float(oracle.variance(0.0, len(group)))
            histories[level] = histories[level].with_party(candidates, shares, len(group), variance)
            uploads = self._keep(party, level, candidates, shares, oracle, len(group), len(values))
            prefixes = np.array([item for item, _ in uploads], dtype=np.int64)
        return uploads

    def _keep(
        self,
        party: int | None,
        level: int,
        candidates: Ints,
        shares: Floats,
        oracle: FrequencyOracle,
        n: int,
        represented: int,
    ) -> list[tuple[int, _Upload]]:
        """The prefixes that go on, with what n reports say of as many users as are represented."""
        variance = float(oracle.variance(0.0, n))
        last, sd = level == self.levels, math.sqrt(variance)
        count = min(self.k, len(candidates)) if last else self.extension.keep(shares, sd, self.k)
        best = np.argsort(-shares, kind="stable")[:count]
        self.report_.append(Level(party, level, self._length(level), len(candidates), n, sd, count))
        surprise = oracle.surprise(shares[best], n)
        return [
            (int(v), _Upload(float(f) * represented, represented, variance * represented**2, float(s)))
            for v, f, s in zip(candidates[best], shares[best], surprise, strict=True)
        ]

    def _rank(self, uploads: list[tuple[int, _Upload]], total: int) -> None:
        items: dict[int, _Upload] = {}
        for item, upload in uploads:
            items[item] = items[item] + upload if item in items else upload
        ranked = sorted(items.items(), key=lambda kv: (-kv[1].mass, kv[0]))[: self.k]
        # Each party's estimate of each of its candidates is a chance for noise to pass.
        enough = math.log(sum(line.domain for line in self.report_ if line.level == self.levels) / _FALSE)
        self.items_ = np.array([item for item, _ in ranked], dtype=np.int64)
        self.frequencies_ = np.array([u.mass / total for _, u in ranked])
        self.standard_errors_ = np.array([math.sqrt(u.noise) / total for _, u in ranked])
        self.above_noise_ = np.array([u.surprise > enough for _, u in ranked])
        self.covered_ = np.array([u.covered / total for _, u in ranked])

    def summary(self) -> dict[str, Any]:
        """The privacy that was kept: budget, the most that a user spent, and whether the randomness was secure.

        And which parties were not heard (``skipped``).
        """
        return {
            "epsilon": self.epsilon,
            "most_spent": self.ledger_.most,
            "secure": self.source.secure,
            "skipped": self.skipped_,
        }
