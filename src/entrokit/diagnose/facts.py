"""The numbers that the verdicts' rules look at, taken from a run's series, completions and accounts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from entrokit.runs import Series, TrainingLog
from entrokit.runs.step_account import QUADRANTS, StepAccount

from .digest import Digest
from .thresholds import Thresholds

_TENTH, _FEWEST = 10, 3


@dataclass(frozen=True)
class Trend:
    """A series at its start and end (means of the first and last tenth, 3 points at least), and its best stretch."""

    steps: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, series: Series) -> Trend:
        return cls(series.steps, series.values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def window(self) -> int:
        return max(_FEWEST, len(self.values) // _TENTH)

    @property
    def start(self) -> float:
        return float(self.values[: self.window].mean())

    @property
    def end(self) -> float:
        return float(self.values[-self.window :].mean())

    @property
    def best(self) -> float:
        return float(self.smooth.max())

    @property
    def ratio(self) -> float:
        """End over start; infinite from a start at 0."""
        return self.end / self.start if self.start > 0 else math.inf

    @property
    def smooth(self) -> np.ndarray:
        """Running means over the window (``valid`` part)."""
        window = min(self.window, len(self.values))
        return np.convolve(self.values, np.ones(window) / window, "valid")

    def part(self, low: float, high: float) -> np.ndarray:
        """The values between two shares of the run."""
        n = len(self.values)
        return self.values[int(low * n) : max(int(high * n), int(low * n) + 1)]

    def first_step_beyond(self, level: float, *, above: bool) -> float | None:
        """The step at which the smoothed course first passes a level; None if it never does."""
        passed = self.smooth >= level if above else self.smooth <= level
        index = int(passed.argmax())
        return float(self.steps[index + len(self.values) - len(self.smooth)]) if passed.any() else None


@dataclass(frozen=True)
class Family:
    """One kind of prompt.

    Attributes:
        reward, entropy: its courses. rows: completions at each point of ``reward``; None where nobody counted them.
    """

    name: str
    reward: Trend | None
    entropy: Trend | None
    rows: np.ndarray | None


@dataclass(frozen=True)
class Facts:
    """What is known of a run; None where it was not written.

    Attributes:
        quadrants: sums of the accounts' token shares by quadrant (nats, of the accounted steps); without accounts those
            of the digest's estimate.
    """

    log: TrainingLog
    digest: Digest
    entropy: Trend | None
    reward: Trend | None
    accuracy: Trend | None
    truncated: Trend | None
    flat_groups: Trend | None
    families: tuple[Family, ...]
    accounts: tuple[StepAccount, ...]
    quadrants: dict[str, float] = field(default_factory=dict)


def facts_of(log: TrainingLog, digest: Digest, accounts: Sequence[StepAccount]) -> Facts:
    """Gathers the facts; series come from the log, and from the completions where the log has none."""
    return Facts(
        log,
        digest,
        _trend(log.get("entropy")) or _trend(log.get("trainer_entropy")) or _from(digest, None, "entropy"),
        _trend(log.get("reward")) or _from(digest, None, "reward"),
        _trend(log.get("accuracy")),
        _trend(log.get("truncated")) or _from(digest, None, "truncated"),
        _trend(log.get("zero_variance")),
        tuple(_families(log, digest)),
        tuple(accounts),
        sum_of_quadrants(accounts) if accounts else dict(digest.free),
    )


def sum_of_quadrants(accounts: Sequence[StepAccount]) -> dict[str, float]:
    """The token shares of accounts, summed by quadrant (nats)."""
    sums = dict.fromkeys(QUADRANTS, 0.0)
    for account in accounts:
        for key, part in account.splits.get("quadrant", {}).items():
            sums[key] = sums.get(key, 0.0) + part.share
    return sums


def _trend(series: Series | None) -> Trend | None:
    return None if series is None else Trend.of(series)


def _from(digest: Digest, family: str | None, what: str) -> Trend | None:
    steps, values, _ = digest.course(family, what)
    return Trend(steps, values) if len(steps) else None


def _families(log: TrainingLog, digest: Digest) -> list[Family]:
    logged = {n.partition("/")[2] for n in log.series if n.startswith(("reward/", "entropy/"))}
    found = []
    for name in sorted(logged | set(digest.families)):
        reward, entropy = (_trend(log.get(f"{what}/{name}")) for what in ("reward", "entropy"))
        rows = None
        if reward is None:
            steps, values, rows = digest.course(name, "reward")
            reward = Trend(steps, values) if len(steps) else None
        found.append(Family(name, reward, entropy or _from(digest, name, "entropy"), rows))
    return found


def lost_reward(r: Trend, t: Thresholds) -> tuple[float, float | None]:
    """The best reward, single early points included, and the step at which it was lost for good; None if it was not."""
    best = float(max(r.best, r.values[: r.window].max()))
    if best <= 0 or r.end > t.crash_share * best or best < noise(r):
        return best, None
    above = np.flatnonzero(r.values > 0.5 * best)
    return best, float(r.steps[min(int(above[-1]) + 1, len(r) - 1)])


def noise(course: Trend) -> float:
    """Standard error of a tenth's mean, from point to point."""
    if len(course) < 3:
        return 0.0
    return float(np.diff(course.values).std() / 2**0.5 / course.window**0.5)
