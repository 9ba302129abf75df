"""RLOO over whole completions, as TRL's `RLOOTrainer`, a base of recipes."""

from __future__ import annotations

from ..advantages import RLOOAdvantage
from ..base import Base
from ..card import Card
from ..surrogates import SequenceClip

CARD = Card("2402.14740", examples=("rloo_sequence",), not_ranked="a base: methods are ranked upon grpo")


def rloo_sequence(*, clip_low: float = 0.2, clip_high: float = 0.2) -> Base:
    """RLOO over whole completions, as TRL's `RLOOTrainer`: leave-one-out, clip on Π r, mean over completions."""
    return Base(RLOOAdvantage(), SequenceClip(clip_low, clip_high), "seq-mean-token-sum")
