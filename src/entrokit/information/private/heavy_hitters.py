"""The most frequent items of many parties' users, each of whom gives one ε-private report.

Federated Heavy Hitter Analytics with Local Differential Privacy (arXiv 2412.14832). Items are m bits; prefixes grow by
levels, and every level asks users of its own, with their whole budget. The first levels are one tree for all parties
(phase I); then each party grows its own and uploads its top k (phase II), which the server adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..pmf import Floats
from .choice import ORACLES, best_oracle
from .ledger import PrivacyLedger
from .randomness import Ints, RandomSource, SecureSource
from .strategies import AdaptiveExtension, ConsensusPruning, Extension, History

# Bits of reports that are held at a time.
_HELD = 2**21


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


class PrefixTreeHeavyHitters:
    """TAP, with ``pruning`` TAPS, and with no shared level and `FixedExtension` the baseline FedPEM.

    Args:
        k: items to find. bits: m of an item. levels: g, at most m. shared_levels: of phase I, below g or equal.
        epsilon: budget of a user, spent in one report. oracle: "oue", "krr", "olh", or "auto" for the better of the
            first two at each level.
        extension: how many prefixes go on. pruning: None, or which candidates later parties drop.
        source: of randomness; the operating system's by default. `SeededSource` is for experiments only.

    Attributes:
        items_: ``[k]``, most frequent first (fewer if fewer were found). frequencies_: estimated shares of all users;
            an item counts 0 for a party that did not upload it, so they are low. covered_: share of the users whose
            party uploaded the item. report_: of each level. ledger_: what users spent.
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

        Raises:
            ValueError: no party, a party with fewer users than levels, or an item out of range.
        """
        users = [self._checked(i, p) for i, p in enumerate(parties)]
        if not users:
            raise ValueError("PrefixTreeHeavyHitters.fit: no party")
        self.ledger_ = PrivacyLedger([len(u) for u in users], self.epsilon)
        self.report_: list[Level] = []
        groups = [np.array_split(self.source.permutation(len(u)), self.levels) for u in users]
        prefixes, pooled = np.zeros(1, dtype=np.int64), np.ones(1)
        for level in range(1, self.shared_levels + 1):
            prefixes, pooled = self._shared(level, prefixes, users, groups)
        uploads: dict[int, tuple[float, int]] = {}
        if self.shared_levels == self.levels:
            total = sum(map(len, users))
            uploads = {int(v): (f * total, total) for v, f in zip(prefixes, pooled, strict=True)}
        else:
            histories = [History.empty() for _ in range(self.levels + 1)]
            for party in sorted(range(len(users)), key=lambda i: -len(users[i])):
                for item, share in self._alone(party, prefixes, users[party], groups[party], histories):
                    mass, covered = uploads.get(item, (0.0, 0))
                    uploads[item] = (mass + share * len(users[party]), covered + len(users[party]))
        self._rank(uploads, sum(map(len, users)))
        return self

    def _checked(self, party: int, items: ArrayLike) -> Ints:
        found = np.asarray(items)
        if found.ndim != 1 or found.dtype.kind not in "iu" or not ((found >= 0) & (found < 2**self.bits)).all():
            raise ValueError(f"party {party}: items must be [n] integers from 0 to 2^{self.bits} - 1")
        if len(found) < self.levels:
            raise ValueError(f"party {party}: {len(found)} users for {self.levels} levels; each level needs some")
        return found.astype(np.int64)

    def _length(self, level: int) -> int:
        return -(-level * self.bits // self.levels)

    def _candidates(self, prefixes: Ints, level: int) -> Ints:
        grown = self._length(level) - self._length(level - 1)
        return ((np.sort(prefixes) << grown)[:, None] | np.arange(1 << grown)).ravel()

    def _ask(self, party: int, users: Ints, values: Ints, candidates: Ints, level: int) -> tuple[Floats, float]:
        """Estimated shares of the candidates, and their variance at share 0, from one report of each user."""
        self.ledger_.charge(party, users, self.epsilon)
        own = values[users] >> (self.bits - self._length(level))
        place = np.searchsorted(candidates, own).clip(max=len(candidates) - 1)
        index = np.where(candidates[place] == own, place, -1)
        name = best_oracle(len(candidates), self.epsilon) if self.oracle == "auto" else self.oracle
        oracle = ORACLES[name](len(candidates), self.epsilon, outside=True)
        counts = np.zeros(oracle.d, dtype=np.int64)
        for part in np.array_split(index, -(-len(users) * oracle.d // _HELD)):
            counts += oracle.aggregate(oracle.randomize(part, self.source))
        return oracle.estimate(counts, len(users)), float(oracle.variance(0.0, len(users)))

    def _shared(self, level: int, prefixes: Ints, users: list[Ints], groups: list[list[Ints]]) -> tuple[Ints, Floats]:
        candidates = self._candidates(prefixes, level)
        total, noise, n = np.zeros(len(candidates)), 0.0, 0
        for party, values in enumerate(users):
            group = groups[party][level - 1]
            shares, variance = self._ask(party, group, values, candidates, level)
            total, noise, n = total + len(group) * shares, noise + len(group) ** 2 * variance, n + len(group)
        pooled, sd = total / n, float(np.sqrt(noise)) / n
        return self._keep(None, level, candidates, pooled, sd, n)

    def _alone(
        self, party: int, prefixes: Ints, values: Ints, groups: list[Ints], histories: list[History]
    ) -> list[tuple[int, float]]:
        """A party's own levels; what it uploads: its top k with their shares."""
        shares = np.ones(len(prefixes))
        for level in range(self.shared_levels + 1, self.levels + 1):
            candidates, group = self._candidates(prefixes, level), groups[level - 1]
            if self.pruning is not None:
                suspects = self.pruning.suspects(candidates, histories[level], self.k)
                asked = int(self.pruning.beta * len(group)) if suspects.any() else 0
                if asked:
                    # Who validates has reported: the others estimate.
                    validated, noise = self._ask(party, group[:asked], values, candidates, level)
                    dropped = self.pruning.dropped(suspects, validated, float(np.sqrt(noise)), self.k)
                    candidates, group = candidates[~dropped], group[asked:]
            shares, variance = self._ask(party, group, values, candidates, level)
            histories[level] = histories[level].with_party(candidates, shares, len(group), variance)
            prefixes, shares = self._keep(party, level, candidates, shares, float(np.sqrt(variance)), len(group))
        return [(int(v), float(f)) for v, f in zip(prefixes, shares, strict=True)]

    def _keep(
        self, party: int | None, level: int, candidates: Ints, shares: Floats, sd: float, n: int
    ) -> tuple[Ints, Floats]:
        last = level == self.levels
        count = min(self.k, len(candidates)) if last else self.extension.keep(shares, sd, self.k)
        best = np.argsort(-shares, kind="stable")[:count]
        self.report_.append(Level(party, level, self._length(level), len(candidates), n, sd, count))
        return candidates[best], shares[best]

    def _rank(self, uploads: dict[int, tuple[float, int]], total: int) -> None:
        ranked = sorted(uploads.items(), key=lambda kv: (-kv[1][0], kv[0]))[: self.k]
        self.items_ = np.array([item for item, _ in ranked], dtype=np.int64)
        self.frequencies_ = np.array([mass / total for _, (mass, _) in ranked])
        self.covered_ = np.array([covered / total for _, (_, covered) in ranked])

    def summary(self) -> dict[str, Any]:
        """The privacy that was kept: budget, the most that a user spent, and whether the randomness was secure."""
        return {"epsilon": self.epsilon, "most_spent": self.ledger_.most, "secure": self.source.secure}
