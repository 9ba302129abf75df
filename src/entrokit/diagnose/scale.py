"""The scale that a run's rewards lie on: what is low, what is high, and whether that is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from entrokit.runs import Series

from .trend import Trend, noise

# A batch's highest reward is the reward's top where this share of the batches reach exactly that; a maximum that
# wanders is the batch's own.
_REACHED = 0.2
_SAME = 1e-6
# How far means may lie outside of [0, 1] by rounding or noise, and how far below 0 penalties bring them.
_SLACK, _PENALTY = 0.02, 0.2
# Above the first a share is one of 100. Rewards that end between the second and 100 are of 100.
_MOST_OF_A_SHARE, _NEAR_HUNDRED, _HUNDRED = 1.5, 80.0, 100.0
# Costs that end within this share of the deepest of them have 0 for their top.
_NEAR_NO_COST = 0.1
# Means of 0/1 rewards this small hold zeros: where none is, the scale is another.
_TINY = 1e-3


@dataclass(frozen=True)
class RewardScale:
    """From the lowest reward to the highest.

    Attributes:
        low, high: rewards. source: ``declared`` by the user; ``written`` in the log's lowest and highest rewards;
            ``usual``, [0, 1] or [-1, 1], where all means lie inside, [0, 100] where they end near 100, and up to
            0 where costs come near to nothing; ``seen``, the range of the means themselves.
        floor: a difference of mean rewards below which there is none: the noise from point to point, or a share of the
            scale.
    """

    low: float
    high: float
    source: Literal["declared", "written", "usual", "seen"]
    floor: float

    @property
    def known(self) -> bool:
        """Whether ``high`` is the best that can be had, not the best that was."""
        return self.source != "seen"

    @property
    def span(self) -> float:
        return self.high - self.low

    def share(self, reward: float) -> float:
        """How far a reward lies on the way from low to high."""
        return (reward - self.low) / self.span

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, {self.source}"


def scale_of(
    reward: Trend, low: Series | None, high: Series | None, declared: tuple[float, float] | None, floor: float
) -> RewardScale:
    """The scale of a run's mean rewards.

    Args:
        reward: their course. low, high: lowest and highest reward of each batch, where they were written.
        declared: the user's own bounds. floor: share of the scale below which a difference is none.

    Raises:
        ValueError: declared bounds that are no range.
    """

    def over(a: float, b: float, source: Literal["declared", "written", "usual", "seen"]) -> RewardScale:
        return RewardScale(a, b, source, max(floor * (b - a), 2.0 * noise(reward)))

    if declared is not None:
        return over(*checked_range(declared), "declared")
    values = reward.values
    least, most = float(values.min()), float(values.max())
    top, bottom = _end_of(high, max), _end_of(low, min)
    if top is not None and most <= top + _SAME * max(1.0, abs(top)):
        foot = bottom if bottom is not None and bottom <= least else min(0.0, least)
        if top > foot:
            return over(foot, top, "written")
    smooth = reward.smooth
    lowest, highest = (float(pick((smooth.min(), smooth.max(), reward.start))) for pick in (min, max))
    tiny = least > 0.0 and most <= _TINY
    if lowest >= -1.0 - _SLACK and highest <= 1.0 + _SLACK and not tiny:
        # A little below 0 are the penalties of a reward from 0 to 1, far below it a reward of ±1.
        return over(0.0 if lowest >= -_SLACK else lowest if lowest > -_PENALTY else -1.0, 1.0, "usual")
    if least >= 0.0 and highest >= _NEAR_HUNDRED and most <= _HUNDRED:
        return over(0.0, _HUNDRED, "usual")
    if most <= 0.0 and highest >= _NEAR_NO_COST * lowest:
        return over(lowest, 0.0, "usual")
    a, b = min(lowest, 0.0) if least >= 0.0 else lowest, highest
    if b - a <= 1e-12 * max(1.0, abs(b)):
        a, b = a - max(1.0, abs(a)) / 2, b + max(1.0, abs(b)) / 2
    return over(a, b, "seen")


def checked_range(declared: tuple[float, float]) -> tuple[float, float]:
    """Bounds of a reward as a user declares them.

    Raises:
        ValueError: they are no two finite numbers, the lower first.
    """
    try:
        low, high = declared
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"reward_range: expected two numbers, the lower first, got {declared!r}")


def in_percent(share: Series | None) -> bool:
    """Whether what should be a share, 0 to 1, was written as one of 100."""
    if share is None or not len(share):
        return False
    least, most = float(share.values.min()), float(share.values.max())
    return least >= 0.0 and _MOST_OF_A_SHARE < most <= _HUNDRED


def _end_of(series: Series | None, pick: Callable[..., float]) -> float | None:
    """The bound that many batches reach; None where their extremes wander."""
    if series is None or not len(series):
        return None
    bound = float(series.values.max() if pick is max else series.values.min())
    near = np.abs(series.values - bound) <= _SAME * max(1.0, abs(bound))
    return bound if float(near.mean()) >= _REACHED else None
