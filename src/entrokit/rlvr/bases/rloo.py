"""RLOO, a base of recipes."""

from __future__ import annotations

from ..advantages import RLOOAdvantage
from ..base import Base
from ..card import Card
from ..surrogates import PPOClip

CARD = Card("2402.14740", examples=("rloo",), not_ranked="a base: methods are ranked upon grpo")


def rloo(*, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0) -> Base:
    """RLOO (2402.14740): leave-one-out baseline, PPO clip, mean over tokens."""
    return Base(RLOOAdvantage(), PPOClip(clip_low, clip_high, dual_clip), "token-mean")
