"""DAPO's loss, a base of recipes."""

from __future__ import annotations

from ..advantages import GRPOAdvantage
from ..base import Base
from ..card import Card
from ..surrogates import PPOClip

CARD = Card("2503.14476", examples=("dapo",), not_ranked="a base: methods are ranked upon grpo")


def dapo(
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = 3.0,
    std_eps: float = 1e-6,
) -> Base:
    """DAPO's loss (2503.14476): group mean and std, clip-higher, mean over tokens.

    Its dynamic sampling and overlong penalty act before the loss and are not part of this base; a group of equal
    rewards has advantage 0.
    """
    return Base(GRPOAdvantage(std_eps), PPOClip(clip_low, clip_high, dual_clip), "token-mean")
