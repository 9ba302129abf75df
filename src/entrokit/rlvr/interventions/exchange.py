"""The entropy-performance exchange: advantages shaped by a completion's perplexity or a token's position.

Decomposing the Entropy-Performance Exchange: The Missing Keys to Unlocking Effective Reinforcement Learning (arXiv
2508.02260).

    perplexity: A' = A clip(1 - α w, 0.8, 1.2),   w = (log PPL - mean) / std in the group, outliers left out of both
    position:   A' = A + sign(A) min(γ sigmoid(k (r - 0.5)), |A|/2),   r = place among the completion's n tokens / n

The released code computes the first for low perplexities and never multiplies by it; here it acts. Outlier rule and
clips are the code's; ``None`` gives the paper's plain formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_range
from ..quantiles import masked_quantile
from ..rollouts import Rollouts

__all__ = ["PerplexityShaping", "PositionShaping"]

_FLAT = 1e-6


def log_perplexity(old_logp: Tensor, mask: Tensor) -> Tensor:
    """Log-perplexity of each completion, ``[B]`` nats, detached; 0 for an empty one.

    Args:
        old_logp: ``[B, T]``. mask: ``[B, T]`` bool.
    """
    return -torch.where(mask, old_logp, 0.0).sum(1).detach() / mask.sum(1).clamp(min=1)


def ppl_weight(log_ppl: Tensor, usable: Tensor, group: Tensor, iqr: float | None = 1.5) -> tuple[Tensor, Tensor]:
    """Standard score of every completion's log-perplexity within its group, and which completions the score's mean and
    (population) standard deviation are taken over.

    Args:
        log_ppl: ``[B]`` nats. usable: ``[B]`` bool, completions that have tokens. group: ``[B]`` int.
        iqr: leaves out of the statistics what lies more than this many interquartile ranges outside the quartiles.

    Returns:
        ``w [B]``, 0 for a completion that is not usable and in a group without spread; ``keep [B]`` bool.
    """
    score, keep = torch.zeros_like(log_ppl), usable.clone()
    for g in torch.unique(group).tolist():
        members = (group == g) & usable
        values = log_ppl[members]
        if not len(values):
            continue
        kept = torch.ones_like(values, dtype=torch.bool)
        if iqr is not None:
            q1, q3 = masked_quantile(values, 0.25), masked_quantile(values, 0.75)
            kept = (values >= q1 - iqr * (q3 - q1)) & (values <= q3 + iqr * (q3 - q1))
        std = values[kept].std(correction=0)
        score[members] = (values - values[kept].mean()) / torch.where(std > _FLAT, std, 1.0)
        keep[members] = kept
    return score, keep


def shape_advantage_ppl(
    adv: Tensor, w: Tensor, alpha: float = 0.01, clip: tuple[float, float] | None = (0.8, 1.2)
) -> Tensor:
    """``adv [B, T]`` times ``1 - alpha w``, ``w [B]``: low perplexity counts more (``alpha < 0``: less)."""
    factor = 1.0 - alpha * w
    if clip is not None:
        factor = factor.clamp(*clip)
    return adv * factor[:, None]


def shape_advantage_position(
    adv: Tensor, mask: Tensor, gamma: float = 0.1, k: float = 15.0, cap: float | None = 0.5
) -> Tensor:
    """``adv [B, T]`` with a bonus in its own direction that grows (``k < 0``: falls) with the place of a token.

    Args:
        mask: ``[B, T]`` bool; places are counted over its tokens, wherever the padding is. gamma: largest bonus.
        cap: largest bonus as a share of ``\\|adv\\|``.

    Returns:
        ``[B, T]``, zeros outside the mask.
    """
    place = (mask.cumsum(1) - 1) / mask.sum(1, keepdim=True).clamp(min=1)
    bonus = gamma * torch.sigmoid(k * (place.to(adv.dtype) - 0.5))
    if cap is not None:
        bonus = torch.minimum(bonus, cap * adv.abs())
    return torch.where(mask, adv + adv.sign() * bonus, 0.0)


@dataclass
class PerplexityShaping(Intervention):
    """Low perplexity counts more. Knobs: `alpha` (α; below 0 is the paper's ablation), `iqr`, `low` and `high` (bounds
    of the factor), each None for the paper's plain formula.
    """

    name: ClassVar[str] = "perplexity-shaping"
    card: ClassVar[Card] = Card(
        "2508.02260",
        examples=("grpo+perplexity-shaping(alpha=0.3)",),
        benches=OnBenches(tuned="alpha=0.3"),
    )
    alpha: float = 0.01
    iqr: float | None = 1.5
    low: float | None = 0.8
    high: float | None = 1.2

    def __post_init__(self) -> None:
        check_range(self, "alpha", -float("inf"))
        check_range(self, "iqr", 0.0, optional=True)
        check_range(self, "low", 0.0, 1.0, optional=True)
        check_range(self, "high", 1.0, optional=True)

    @property
    def separable(self) -> bool:
        return True

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        log_ppl, own = context.gathered_with_own_part(log_perplexity(rollouts.behaviour.logp, rollouts.trained))
        usable = context.gather(rollouts.trained.any(1))
        w, _ = ppl_weight(log_ppl, usable, context.gather(rollouts.group), self.iqr)
        low = -float("inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        return shape_advantage_ppl(advantages, w[own].to(advantages.dtype), self.alpha, (low, high))


@dataclass
class PositionShaping(Intervention):
    """Late tokens count more. Knobs: `gamma` (γ), `k` (steepness; below 0 favours early tokens), `cap` (None for the
    paper's plain formula), `start` and `end` (optimiser steps between which it acts; None: to the last).
    """

    name: ClassVar[str] = "position-shaping"
    card: ClassVar[Card] = Card(
        "2508.02260",
        examples=("dapo+position-shaping",),
        benches=OnBenches(tuned="gamma=0.5"),
    )
    gamma: float = 0.1
    k: float = 15.0
    cap: float | None = 0.5
    start: int = 0
    end: int | None = None

    def __post_init__(self) -> None:
        check_range(self, "gamma", 0.0)
        check_range(self, "k", -float("inf"))
        check_range(self, "cap", 0.0, optional=True)
        check_range(self, "start", 0)
        check_range(self, "end", self.start, optional=True)

    @property
    def separable(self) -> bool:
        return True

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        if context.step < self.start or (self.end is not None and context.step >= self.end):
            return advantages
        return shape_advantage_position(advantages, rollouts.trained, self.gamma, self.k, self.cap)
