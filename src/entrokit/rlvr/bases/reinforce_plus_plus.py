"""REINFORCE++, a base of recipes."""

from __future__ import annotations

from ..advantages import ReinforcePlusPlusAdvantage
from ..base import Base
from ..card import Card
from ..surrogates import PPOClip

CARD = Card("2501.03262", examples=("reinforce_plus_plus",), not_ranked="a base: methods are ranked upon grpo")


def reinforce_plus_plus(
    *, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0, gamma: float = 1.0
) -> Base:
    """REINFORCE++ (2501.03262): returns to go whitened over the batch, PPO clip, mean over tokens."""
    return Base(ReinforcePlusPlusAdvantage(gamma), PPOClip(clip_low, clip_high, dual_clip), "token-mean")
