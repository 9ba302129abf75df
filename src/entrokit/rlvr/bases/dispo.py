"""DISPO: a detached importance weight with four bounds, two for right and two for wrong completions.

DISPO: Enhancing Training Efficiency and Stability in Reinforcement Learning for LLM Mathematical Reasoning
(arXiv 2602.00983). With r = π/π_old and sg the stop-gradient, the loss per token is

    -sg(clip(r, 1 - pos_low, 1 + pos_high)) A log π   where the completion is right,
    -sg(clip(r, 1 - neg_low, 1 + neg_high)) A log π   where it is wrong,

averaged over the batch's tokens. No token loses its gradient. Only the gradient has a meaning: the loss's value is no
surrogate of the return. All bounds equal in pairs is CISPO; with r = 1 everything is the policy gradient.

No official code was found: the default bounds come from one third-party implementation, and "right" is read as
A > 0 (``correct="reward"`` takes the completion's own verdict).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..advantages import GRPOAdvantage
from ..base import Base
from ..card import Card, OnBenches
from ..knobs import check_choice, check_range
from ..surrogates import Clip
from ..update import LOG_RATIO_LIMIT, Update

__all__ = ["DISPO", "dispo", "dispo_loss"]

CARD = Card(
    "2602.00983",
    examples=("dispo(pos_high=0.1, neg_low=0.1)", "dispo(correct='reward')"),
    benches=OnBenches(tuned="dispo(pos_low=0.2, pos_high=1.0, neg_low=0.2, neg_high=1.0)"),
)
CORRECT = ("advantage", "reward")


def dispo_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    *,
    pos_clip: tuple[float, float] = (0.2, 10.0),
    neg_clip: tuple[float, float] = (1.0, 100.0),
    correct: Tensor | None = None,
) -> Tensor:
    """Loss per token ``[B, T]``, differentiable in ``log_prob`` alone.

    Args:
        log_prob, old_log_prob, advantages: ``[B, T]``.
        pos_clip, neg_clip: (ε_low, ε_high) for right and wrong; ε_low >= 1 leaves the lower side open.
        correct: bool, broadcasts to ``[B, T]``; ``advantages > 0`` by default.
    """
    ratio = (log_prob - old_log_prob).detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    right = advantages > 0 if correct is None else correct.expand(advantages.shape)
    return -_bounded(ratio, right, pos_clip, neg_clip) * advantages * log_prob


def _regimes(ratio: Tensor, right: Tensor) -> dict[str, Tensor]:
    return {
        f"{side}_{where}": of_side & there
        for side, of_side in (("right", right), ("wrong", ~right))
        for where, there in (("above", ratio > 1), ("below", ratio < 1))
    }


def _bounded(ratio: Tensor, right: Tensor, pos_clip: tuple[float, float], neg_clip: tuple[float, float]) -> Tensor:
    pos, neg = (ratio.clamp(max(0.0, 1.0 - low), 1.0 + high) for low, high in (pos_clip, neg_clip))
    return torch.where(right, pos, neg)


@dataclass(frozen=True)
class DISPO:
    """`dispo_loss` as a surrogate. Its bounds hold weights and silence no token.

    ``correct``: what counts as right, the sign of the advantage or the completion's reward (`Rollouts.correct`).
    """

    name: ClassVar[str] = "DISPO"
    pos_low: float = 0.2
    pos_high: float = 10.0
    neg_low: float = 1.0
    neg_high: float = 100.0
    correct: str = "advantage"

    def __post_init__(self) -> None:
        for name in ("pos_low", "pos_high", "neg_low", "neg_high"):
            check_range(self, name, 0.0)
        check_choice(self, "correct", CORRECT)

    @property
    def separable(self) -> bool:
        return True

    def loss(self, update: Update) -> Tensor:
        return dispo_loss(
            update.current.logp,
            update.behaviour.logp,
            update.advantages,
            pos_clip=(self.pos_low, self.pos_high),
            neg_clip=(self.neg_low, self.neg_high),
            correct=self._right(update),
        )

    def clip(self, update: Update) -> Clip:
        ratio, right = update.ratio.detach(), self._right(update)
        weight = _bounded(ratio, right, (self.pos_low, self.pos_high), (self.neg_low, self.neg_high))
        changed = (weight != ratio) & (update.advantages != 0)
        # Shares of all trained tokens: means within a regime would not average over micro-batches.
        metrics = {f"{name}_clipped": update.mean((r & changed).float()) for name, r in _regimes(ratio, right).items()}
        return Clip(torch.zeros_like(update.trained), metrics=metrics)

    def _right(self, update: Update) -> Tensor:
        if self.correct == "advantage":
            return update.advantages > 0
        if update.correct is None:
            raise ValueError(
                "dispo(correct='reward') needs to know which completions are right (Rollouts.correct); name what "
                "says so (EntropyGRPOTrainer(correct=...), verl's policy_loss.correct), or use correct='advantage'"
            )
        return update.correct.expand(update.advantages.shape)


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
