"""The numbers that the verdicts' rules look at, taken from a run's series, completions and accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from entrokit.runs import Series, TrainingLog
from entrokit.runs.step_account import QUADRANTS, StepAccount

from .broken import Turned, before, turned
from .digest import Digest
from .impossible import Impossible, impossible
from .scale import RewardScale, in_percent, scale_of
from .thresholds import Thresholds
from .trend import Trend

_PART = "reward.part/"
_MOST, _LEAST = 1e60, 1e-60


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
        log: the run; where its numbers broke, up to that step.
        entropy: nats per token; None too where what was written cannot be entropies.
        scale: of the rewards. parts: courses of the reward's functions, by name.
        quadrants: sums of the accounts' token shares by quadrant (nats, of the accounted steps); without accounts those
            of the digest's estimate.
        turned: which numbers broke, and when; None where they did not.
        doubt: why what was written as entropy cannot be it.
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
    scale: RewardScale | None = None
    parts: Mapping[str, Trend] = field(default_factory=dict)
    turned: Turned | None = None
    doubt: Impossible | None = None

    def course(self, name: str) -> Trend | None:
        """The course of any series, by entrokit's name."""
        return _trend(self.log.get(name))

    @property
    def held_out(self) -> Trend | None:
        """Score on held-out prompts: of all, or the mean of its families at the steps that all of them have."""
        if (whole := self.course("validation")) is not None:
            return whole
        families = [s for n, s in self.log.series.items() if n.startswith("validation/") and len(s)]
        steps = [set(s.steps.tolist()) for s in families]
        shared = sorted(set.intersection(*steps)) if steps else []
        if not shared:
            return None
        return Trend(np.array(shared), np.mean([s.values[np.isin(s.steps, shared)] for s in families], axis=0))


def facts_of(
    log: TrainingLog,
    digest: Digest,
    accounts: Sequence[StepAccount],
    thresholds: Thresholds | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Facts:
    """Gathers the facts; series come from the log, and from the completions where the log has none.

    Args:
        reward_range: lowest and highest reward, where the user has declared them.

    Raises:
        ValueError: a reward range that is none.
    """
    t = thresholds or Thresholds()
    log = bounded(log)
    broke = turned(log)
    if broke is not None and broke.for_good:
        log = before(log, broke.step)
    written = log.get("entropy") or log.get("trainer_entropy")
    doubt = (
        None
        if written is None
        else impossible(written, log.get("length"), log.config, t.entropy_limit, int(t.min_points))
    )
    entropy = _trend(written) if doubt is None or doubt.usable else None
    reward = _trend(log.get("reward")) or _from(digest, None, "reward")
    return Facts(
        log,
        digest,
        entropy or (_from(digest, None, "entropy") if doubt is None else None),
        reward,
        _accuracy(log.get("accuracy")),
        _trend(log.get("truncated")) or _from(digest, None, "truncated"),
        _trend(log.get("zero_variance")),
        tuple(_families(log, digest)),
        tuple(accounts),
        sum_of_quadrants(accounts) if accounts else dict(digest.free),
        None
        if reward is None
        else scale_of(reward, log.get("reward.min"), log.get("reward.max"), reward_range, t.reward_floor),
        _parts(log),
        broke,
        doubt,
    )


def sum_of_quadrants(accounts: Sequence[StepAccount]) -> dict[str, float]:
    """The token shares of accounts, summed by quadrant (nats)."""
    sums = dict.fromkeys(QUADRANTS, 0.0)
    for account in accounts:
        for key, part in account.splits.get("quadrant", {}).items():
            sums[key] = sums.get(key, 0.0) + part.share
    return sums


def bounded(log: TrainingLog) -> TrainingLog:
    """Without numbers whose squares would overflow or vanish: no metric of a run is that large, or that small."""
    cut = {}
    for name, s in log.series.items():
        size = np.abs(s.values)
        if len(s) and (size.max() > _MOST or ((size > 0) & (size < _LEAST)).any()):
            cut[name] = replace(s, values=np.where(size < _LEAST, 0.0, np.clip(s.values, -_MOST, _MOST)))
    return replace(log, series={**log.series, **cut}) if cut else log


def _trend(series: Series | None) -> Trend | None:
    return None if series is None else Trend.of(series)


def _accuracy(series: Series | None) -> Trend | None:
    return _trend(series.scaled(0.01) if series is not None and in_percent(series) else series)


def _from(digest: Digest, family: str | None, what: str) -> Trend | None:
    steps, values, _ = digest.course(family, what)
    return Trend(steps, values) if len(steps) else None


def _parts(log: TrainingLog) -> dict[str, Trend]:
    """The courses of the reward's functions; one that is their sum over again is none of several."""
    found = {n.removeprefix(_PART): s for n, s in log.series.items() if n.startswith(_PART) and len(s)}
    whole = log.get("reward")
    same = {n for n, s in found.items() if whole is not None and np.array_equal(s.values, whole.values)}
    others = len(found) - len(same)
    return {n: Trend.of(s) for n, s in found.items() if n not in same or others < 2}


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
