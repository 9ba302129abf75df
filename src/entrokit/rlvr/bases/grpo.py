"""GRPO, a base of recipes."""

from __future__ import annotations

from ..advantages import GRPOAdvantage
from ..base import Base
from ..card import Card, OnBenches
from ..surrogates import PPOClip

CARD = Card("2402.03300", examples=("grpo",), benches=OnBenches())


def grpo(
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
    std_eps: float = 1e-6,
) -> Base:
    """GRPO (arXiv 2402.03300): group mean and std, PPO clip, mean over rows of each row's mean."""
    return Base(GRPOAdvantage(std_eps), PPOClip(clip_low, clip_high, dual_clip), "seq-mean-token-mean")
