"""GSPO, a base of recipes."""

from __future__ import annotations

from ..advantages import GRPOAdvantage
from ..base import Base
from ..card import Card
from ..surrogates import GSPO

CARD = Card("2507.18071", examples=("gspo",), not_ranked="a base: methods are ranked upon grpo")


def gspo(*, clip_low: float = 3e-4, clip_high: float = 4e-4, std_eps: float = 1e-6) -> Base:
    """GSPO (2507.18071): group mean and std, clip on the sequence ratio, mean over rows of each row's mean."""
    return Base(GRPOAdvantage(std_eps), GSPO(clip_low, clip_high), "seq-mean-token-mean")
