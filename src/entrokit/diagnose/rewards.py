"""What rewards came to on their own scale: lost, gained, solved."""

from __future__ import annotations

import numpy as np

from .facts import Facts
from .thresholds import Thresholds
from .trend import Trend, noise

# A reward of unknown top counts as at its top where most of the groups that told something apart no longer do, and it
# holds nearly all that it ever had.
_MORE_FLAT, _HELD = 0.2, 0.95
# A part that never leaves this share of its highest does not move; one that hardly rises above 0 is a penalty.
_PEGGED, _A_PENALTY = 0.99, 0.2
# The best of many stretches is high by chance: nothing was lost that is less than so many of their standard errors.
_BY_CHANCE = 4.0
# A reward that was lost a few points ago is lost where it stood this many standard errors above nothing.
_GONE, _BEYOND_DOUBT = 6, 7.0


def lost_reward(facts: Facts, t: Thresholds) -> tuple[float, float | None]:
    """The best reward, single early points included, and the step at which it was lost for good; None if it was not."""
    r, scale = facts.reward, facts.scale
    assert r is not None
    assert scale is not None
    first, chance = float(r.values[: r.window].max()), noise(r)
    # A single point is noisier than a stretch.
    single = first - scale.low > _BY_CHANCE * chance * r.window**0.5
    best = max(r.best, first) if single else r.best
    above = best - scale.low
    if above <= max(scale.floor, _BY_CHANCE * chance) or r.end - scale.low > t.crash_share * above:
        return best, None
    held = np.flatnonzero(r.values - scale.low > 0.5 * above)
    lost = min(int(held[-1]) + 1, len(r) - 1)
    # Of rare rewards, a few batches without any come by themselves.
    if len(r) - lost < _GONE and above <= _BEYOND_DOUBT * chance:
        return best, None
    return best, float(r.steps[lost])


def gained(facts: Facts) -> bool:
    """Whether the reward ends above its start, and near its best."""
    r, scale = facts.reward, facts.scale
    if r is None or scale is None:
        return False
    return r.end > r.start + noise(r) and r.end - scale.low >= 0.9 * (r.best - scale.low)


def solved(facts: Facts, t: Thresholds) -> bool:
    """Whether there is hardly anything left to gain.

    Where the reward's top is not known, only groups that have become flat while the reward rose to its best tell it.
    """
    accuracy = facts.accuracy
    if accuracy is not None and within(accuracy, 0.0, 1.0) and accuracy.end >= t.solved:
        return True
    r, scale = facts.reward, facts.scale
    if r is None or scale is None:
        return False
    if scale.known:
        return scale.share(r.end) >= t.solved
    if _parts_solved(facts, t):
        return True
    flat = facts.flat_groups
    return (
        flat is not None
        and flat.end >= t.flat_groups
        and flat.end >= flat.start + _MORE_FLAT
        and r.end > r.start + scale.floor
        and scale.share(r.end) >= _HELD
    )


def has_no_room(part: Trend) -> bool:
    """Whether a part of the reward is a penalty, or stands at a top of its own: means of what varies would move."""
    least, most = float(part.values.min()), float(part.values.max())
    if least < 0.0:
        return part.best <= _A_PENALTY * -least
    return most > 0.0 and least >= _PEGGED * most


def _parts_solved(facts: Facts, t: Thresholds) -> bool:
    """Whether every part of the reward is near 1, its usual top, or has no room."""
    moving = [p for p in facts.parts.values() if not has_no_room(p)]
    return bool(moving) and all(p.end >= t.solved and within(p, -1.0, 1.0) for p in moving)


def easy(facts: Facts, t: Thresholds) -> bool:
    """Whether the reward is so high that flat groups are solved ones."""
    r, scale = facts.reward, facts.scale
    return solved(facts, t) or (r is not None and scale is not None and scale.known and scale.share(r.end) >= t.easy)


def within(course: Trend, low: float, high: float) -> bool:
    return bool(course.values.min() >= low - 1e-9 and course.values.max() <= high + 1e-9)
