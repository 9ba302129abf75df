"""CANON: which direction of a metric pays is read off the rewards, not decided beforehand.

Conditional Advantage Estimation for Reinforcement Learning in Large Reasoning Models (arXiv 2509.23962, Eqs. 5-8). The
completions of a prompt are sorted by a metric and split into halves G⁻ (low) and G⁺ (high) with mean rewards m⁻ and m⁺:

    inter: R - m⁻ in G⁺, R - m⁺ in G⁻          intra: R - m⁺ in G⁺, R - m⁻ in G⁻
    A = μ inter + (1 - μ) intra

μ = 0.5 with equal halves is Dr.GRPO. ``alpha`` multiplies the rewards of one half inside the inter part: the paper's
formula weighs the high half, its entropy code the low one (``weighted_half``). Departs from the official code in a
group of one completion, whose advantage is 0 instead of its reward (``singleton``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from entrokit.groups import as_float, group_sum, widest

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts

__all__ = ["Canon", "canon_advantage", "canon_mu_schedule"]

Metric = Callable[[Rollouts], Tensor]

METRICS = ("entropy", "length", "random")
HALVES = ("high", "low")
SINGLETONS = ("zero", "reward")
SCHEDULES = ("constant", "cosine-inter-intra", "cosine-intra-inter", "accuracy-inter-intra", "accuracy-intra-inter")


def canon_advantage(
    rewards: Tensor,
    metric: Tensor,
    group: Tensor,
    mu: float | Tensor = 1.0,
    alpha: float = 1.0,
    weighted_half: str = "high",
    scale: float = 1.0,
    singleton: str = "zero",
) -> Tensor:
    """CANON's advantages ``[B]``, multiplied by ``scale``; 0 where the reward is NaN.

    Args:
        rewards, metric: ``[B]``; a NaN metric counts as 0, ties keep their order. group: ``[B]`` int.
        mu: weight of the inter-group part. alpha, weighted_half: weight of the rewards of one half in it.
        singleton: what a group of one gets: ``zero``, or its ``reward`` as in the official code.

    Halves of an odd group are unequal (the high one has one more): its advantages then sum to 0 only without ``mu``.
    """
    rewards = as_float(rewards)
    scored = ~torch.isnan(rewards)
    value = rewards.nan_to_num(nan=0.0)
    size = group_sum(scored.to(value.dtype), group)
    is_high = _high_half(metric.nan_to_num(nan=0.0), group, scored, size)

    def mean(half: Tensor) -> Tensor:
        # Twice as wide, so that the mean of equal rewards is that reward.
        members = (half & scored).to(widest(value))
        return (group_sum(members * value, group) / group_sum(members, group).clamp(min=1)).to(value.dtype)

    high, low = mean(is_high), mean(~is_high)
    weigh_high, weigh_low = (alpha, 1.0) if weighted_half == "high" else (1.0, alpha)
    inter = torch.where(is_high, weigh_high * value - weigh_low * low, weigh_low * value - weigh_high * high)
    intra = value - torch.where(is_high, high, low)
    advantage = mu * inter + (1.0 - mu) * intra
    alone = value if singleton == "reward" else torch.zeros_like(value)
    return torch.where(scored, torch.where(size == 1, alone, advantage), 0.0) * scale


def canon_mu_schedule(
    step: int, kind: str = "cosine-inter-intra", total: int = 150, warmup: int = 30, cycles: int = 3
) -> float:
    """μ of the cosine schedules with restarts: 1 to 0.4 (inter first), or 1 - (0.6 to 0) (intra first).

    Args:
        step: from 0; beyond ``total`` the cycles go on. warmup: steps of linear rise.

    Raises:
        ValueError: a kind that is no cosine schedule, or no step left for the cycles.
    """
    if kind not in ("cosine-inter-intra", "cosine-intra-inter"):
        raise ValueError(f"canon: {kind!r} is no cosine schedule; valid are cosine-inter-intra and cosine-intra-inter")
    length = (total - warmup) // cycles if cycles > 0 else 0
    if length < 1:
        raise ValueError(f"canon: {cycles} cycles do not fit into {total} steps with a warm-up of {warmup}")
    high, low = (1.0, 0.4) if kind == "cosine-inter-intra" else (0.6, 0.0)
    if step < warmup:
        value = high * (step + 1) / warmup
    else:
        value = low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * ((step - warmup) % length) / length))
    return value if kind == "cosine-inter-intra" else 1.0 - value


def response_entropy(token_entropy: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy of each completion's tokens, ``[B]`` nats; 0 for a completion without any."""
    return torch.where(mask, token_entropy, 0.0).sum(1) / mask.sum(1).clamp(min=1)


def _high_half(metric: Tensor, group: Tensor, scored: Tensor, size: Tensor) -> Tensor:
    """Which completions are in the high half of their group's ``size`` scored ones, ``[B]`` bool."""
    # Unscored completions go last in their group, where no half ends.
    order = torch.argsort(torch.where(scored, metric, torch.inf), stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    _, members = torch.unique(group, return_counts=True)
    start = torch.repeat_interleave(members.cumsum(0) - members, members)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - start
    return rank >= size // 2


@dataclass
class Canon(Intervention):
    """CANON's advantages instead of the base's. Knobs: `metric` (entropy, length, random, or in code a function of the
    rollouts that gives ``[B]``), `mu` (μ), `alpha`, `weighted_half`, `singleton`, `schedule` (of μ) with `total` and
    `warmup` (optimiser steps) and `cycles`.
    """

    name: ClassVar[str] = "canon"
    card: ClassVar[Card] = Card(
        "2509.23962",
        examples=("dr_grpo+canon(mu=0.7)", "grpo+canon(alpha=0.9, schedule='cosine-inter-intra')"),
        benches=OnBenches(tuned="mu=0.5"),
        instead={"tinker": "use metric='length', or this one under TRL or verl"},
    )
    replaces: ClassVar[str | None] = "advantage"
    metric: str | Metric = "entropy"
    mu: float = 1.0
    alpha: float = 1.0
    weighted_half: str = "high"
    singleton: str = "zero"
    schedule: str = "constant"
    total: int = 150
    warmup: int = 30
    cycles: int = 3

    def __post_init__(self) -> None:
        if not callable(self.metric):
            check_choice(self, "metric", METRICS)
        check_range(self, "mu", 0.0, 1.0)
        check_range(self, "alpha", 0.0, above=True)
        check_choice(self, "weighted_half", HALVES)
        check_choice(self, "singleton", SINGLETONS)
        check_choice(self, "schedule", SCHEDULES)
        for name in ("total", "warmup", "cycles"):
            check_range(self, name, 0)
        if self.schedule.startswith("cosine"):
            canon_mu_schedule(0, self.schedule, self.total, self.warmup, self.cycles)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy"} if self.metric == "entropy" else set())

    @property
    def separable(self) -> bool:
        return True

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        rewards, own = context.gathered_with_own_part(rollouts.reward)
        metric, group = context.gather(self._metric(rollouts, context)), context.gather(rollouts.group)
        mu = self._mu(rewards, context)
        values = canon_advantage(rewards, metric, group, mu, self.alpha, self.weighted_half, singleton=self.singleton)
        return values[own][:, None].expand_as(advantages)

    def _metric(self, rollouts: Rollouts, context: Context) -> Tensor:
        if callable(self.metric):
            metric = self.metric(rollouts)
            if metric.shape != rollouts.reward.shape:
                raise ValueError(
                    f"canon: metric must give one number a row, [{len(rollouts)}], got {list(metric.shape)}"
                )
            return metric.to(rollouts.reward.dtype)
        if self.metric == "entropy":
            entropy = rollouts.behaviour.require("entropy", self.name)
            return response_entropy(entropy, rollouts.trained).to(rollouts.reward.dtype)
        if self.metric == "length":
            return rollouts.trained.sum(1).to(rollouts.reward.dtype)
        # Alike on every rank, so each takes its own rows of one draw.
        everywhere, own = context.gathered_with_own_part(rollouts.reward)
        return torch.rand(len(everywhere), generator=context.generator).to(everywhere)[own]

    def _mu(self, rewards: Tensor, context: Context) -> float:
        if self.schedule == "constant":
            return self.mu
        if self.schedule.startswith("cosine"):
            return canon_mu_schedule(context.step, self.schedule, self.total, self.warmup, self.cycles)
        accuracy = float(rewards.nanmean().nan_to_num(nan=0.0).clamp(0.0, 1.0))
        return 1.0 - accuracy if self.schedule == "accuracy-inter-intra" else accuracy
