"""Dr.GRPO, a base of recipes."""

from __future__ import annotations

from ..advantages import DrGRPOAdvantage
from ..base import Base
from ..card import Card
from ..surrogates import PPOClip

CARD = Card("2503.20783", examples=("dr_grpo",), not_ranked="a base: methods are ranked upon grpo")


def dr_grpo(*, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0) -> Base:
    """Dr.GRPO (2503.20783): group mean alone, PPO clip, sum divided by a constant length."""
    return Base(DrGRPOAdvantage(), PPOClip(clip_low, clip_high, dual_clip), "seq-mean-token-sum-norm")
