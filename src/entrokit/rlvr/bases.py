"""The base names of recipes: each is one whole set of choices (advantage estimator, surrogate, aggregation).

To add one, write a factory whose keyword arguments are its knobs and list it in `BASES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .advantages import (
    AdvantageEstimator,
    DrGRPOAdvantage,
    GRPOAdvantage,
    ReinforcePlusPlusAdvantage,
    ReinforcePlusPlusBaselineAdvantage,
    RLOOAdvantage,
)
from .interventions.dispo import DISPO
from .surrogates import CISPO, GSPO, PPOClip, SequenceClip, Surrogate


@dataclass(frozen=True)
class Base:
    """What is always there in a recipe."""

    advantage: AdvantageEstimator
    surrogate: Surrogate
    aggregation: str


def grpo(
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
    std_eps: float = 1e-6,
) -> Base:
    """GRPO (arXiv 2402.03300): group mean and std, PPO clip, mean over rows of each row's mean."""
    return Base(GRPOAdvantage(std_eps), PPOClip(clip_low, clip_high, dual_clip), "seq-mean-token-mean")


def dr_grpo(*, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0) -> Base:
    """Dr.GRPO (2503.20783): group mean alone, PPO clip, sum divided by a constant length."""
    return Base(DrGRPOAdvantage(), PPOClip(clip_low, clip_high, dual_clip), "seq-mean-token-sum-norm")


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


def cispo(*, clip_low: float | None = None, clip_high: float = 4.0, std_eps: float = 1e-6) -> Base:
    """CISPO (2506.13585): group mean and std, clipped and detached ratio, mean over tokens."""
    return Base(GRPOAdvantage(std_eps), CISPO(clip_low, clip_high), "token-mean")


def dispo(
    *,
    pos_low: float = 0.2,
    pos_high: float = 10.0,
    neg_low: float = 1.0,
    neg_high: float = 100.0,
    correct: str = "advantage",
    std_eps: float = 1e-6,
) -> Base:
    """DISPO (2602.00983): group mean and std, detached ratio with bounds for right and wrong, mean over tokens."""
    return Base(GRPOAdvantage(std_eps), DISPO(pos_low, pos_high, neg_low, neg_high, correct), "token-mean")


def gspo(*, clip_low: float = 3e-4, clip_high: float = 4e-4, std_eps: float = 1e-6) -> Base:
    """GSPO (2507.18071): group mean and std, clip on the sequence ratio, mean over rows of each row's mean."""
    return Base(GRPOAdvantage(std_eps), GSPO(clip_low, clip_high), "seq-mean-token-mean")


def rloo(*, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0) -> Base:
    """RLOO (2402.14740): leave-one-out baseline, PPO clip, mean over tokens."""
    return Base(RLOOAdvantage(), PPOClip(clip_low, clip_high, dual_clip), "token-mean")


def rloo_sequence(*, clip_low: float = 0.2, clip_high: float = 0.2) -> Base:
    """RLOO over whole completions, as TRL's `RLOOTrainer`: leave-one-out, clip on Π r, mean over completions."""
    return Base(RLOOAdvantage(), SequenceClip(clip_low, clip_high), "seq-mean-token-sum")


def reinforce_plus_plus(
    *, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0, gamma: float = 1.0
) -> Base:
    """REINFORCE++ (2501.03262): returns to go whitened over the batch, PPO clip, mean over tokens."""
    return Base(ReinforcePlusPlusAdvantage(gamma), PPOClip(clip_low, clip_high, dual_clip), "token-mean")


def reinforce_plus_plus_baseline(
    *, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0
) -> Base:
    """REINFORCE++-baseline (2501.03262): group mean, whitened over the batch, PPO clip, mean over tokens."""
    return Base(ReinforcePlusPlusBaselineAdvantage(), PPOClip(clip_low, clip_high, dual_clip), "token-mean")


BASES: dict[str, Callable[..., Base]] = {
    factory.__name__: factory
    for factory in (
        grpo,
        dr_grpo,
        dapo,
        cispo,
        dispo,
        gspo,
        rloo,
        rloo_sequence,
        reinforce_plus_plus,
        reinforce_plus_plus_baseline,
    )
}
