"""CISPO, a base of recipes."""

from __future__ import annotations

from ..advantages import GRPOAdvantage
from ..base import Base
from ..card import Card
from ..surrogates import CISPO

CARD = Card("2506.13585", examples=("cispo",), not_ranked="a base: methods are ranked upon grpo")


def cispo(*, clip_low: float | None = None, clip_high: float = 4.0, std_eps: float = 1e-6) -> Base:
    """CISPO (2506.13585): group mean and std, clipped and detached ratio, mean over tokens."""
    return Base(GRPOAdvantage(std_eps), CISPO(clip_low, clip_high), "token-mean")
