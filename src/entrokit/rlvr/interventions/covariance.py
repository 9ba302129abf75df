"""Clip-Cov and KL-Cov: hold still the few tokens whose covariance drives entropy down.

The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models (arXiv 2505.22617). For a softmax policy
the first-order change of entropy is minus the covariance of log-probability and advantage; a tiny set of tokens carries
nearly all of it. Per token (Eq. 10), means over the batch's N trained tokens, detached:

    Cov_i = (log π(y_i) - mean log π) (A_i - mean A)

- Clip-Cov (Eq. 11-12): of the tokens with ``low < Cov < high`` that the ratio clip has not already silenced, a random
  ``max(⌊ratio N⌋, 1)`` get loss 0.
- KL-Cov (Eq. 13-14): the ``max(⌊ratio N⌋, 1)`` tokens with the largest Cov pay ``coef |log π - log π_old|``; the
  surrogate of all tokens is ``-A r`` without a clip.

Departures from the official code: fractions, not per cent; the log-ratio is clamped. The official code ranks within
each micro-batch (``scope="micro"``); here the default ranks over the generation batch, by the behaviour policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import SCOPES, ScopedIntervention, Weighting
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts
from ..surrogates import Clip, PolicyGradient, Surrogate
from ..update import Update

__all__ = ["ClipCov", "KLCov", "token_covariance"]


def token_covariance(log_prob: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Centred product of log-probability and advantage (Eq. 10), detached.

    Args:
        log_prob, advantages: ``[B, T]``. mask: ``[B, T]`` bool.

    Returns:
        ``[B, T]``, zeros outside the mask. All advantages equal: zeros.
    """
    return _token_covariance(log_prob, advantages, mask, Context())


def _token_covariance(log_prob: Tensor, advantages: Tensor, mask: Tensor, context: Context) -> Tensor:
    log_prob, advantages = torch.where(mask, log_prob.detach(), 0.0), torch.where(mask, advantages, 0.0)
    sums = torch.stack([mask.sum().to(log_prob.dtype), log_prob.sum(), advantages.sum()])
    count, log_prob_sum, advantage_sum = context.reduce(sums)
    count = count.clamp(min=1)
    product = (log_prob - log_prob_sum / count) * (advantages - advantage_sum / count)
    return torch.where(mask, product, 0.0)


def draw_clip_cov(
    covariance: Tensor,
    mask: Tensor,
    *,
    ratio: float = 2e-4,
    low: float = 1.0,
    high: float = 5.0,
    context: Context | None = None,
) -> Tensor:
    """Random choice of ``max(⌊ratio N⌋, 1)`` tokens with ``low < covariance < high`` (strict), as bool ``[B, T]``.

    All of them when there are fewer; none when there is none. ``mask`` gives N and the candidates' pool; the context's
    generator draws, alike on every rank.
    """
    context = context or Context()
    return _draw(covariance, mask, mask, ratio, low, high, context)


def _draw(
    covariance: Tensor, mask: Tensor, pool: Tensor, ratio: float, low: float, high: float, context: Context
) -> Tensor:
    candidate = pool & (covariance > low) & (covariance < high)
    where = candidate.nonzero()
    count, own = context.gathered_with_own_part(torch.zeros(len(where), device=mask.device))
    total = int(context.reduce(mask.sum()))
    device = "cpu" if context.generator is None else context.generator.device
    order = torch.randperm(len(count), generator=context.generator, device=device).to(mask.device)
    drawn = torch.zeros(len(count), dtype=torch.bool, device=mask.device)
    drawn[order[: max(int(ratio * total), 1)]] = True
    chosen = torch.zeros_like(mask)
    chosen[tuple(where.T)] = drawn[own]
    return chosen


def top_covariance(covariance: Tensor, mask: Tensor, *, ratio: float = 2e-3, context: Context | None = None) -> Tensor:
    """The ``max(⌊ratio N⌋, 1)`` masked tokens with the largest covariance, as bool ``[B, T]``."""
    context = context or Context()
    values, own = context.gathered_with_own_part(covariance[mask])
    top = torch.zeros(len(values), dtype=torch.bool, device=mask.device)
    if len(values):
        top[values.topk(max(int(ratio * len(values)), 1)).indices] = True
    chosen = torch.zeros_like(mask)
    chosen[mask] = top[own]
    return chosen


def _own_seed(seed: Tensor, logp: Tensor) -> int:
    """A seed of this micro-batch, this update and this rank: the generation's, mixed with the log-probabilities.

    The loss of a micro-batch may be asked for twice (once for the gradient, once for the metrics) and must draw alike.
    """
    own = logp.detach().cpu().double().sum().view(torch.int64) if logp.numel() else torch.tensor(0)
    first = int(seed[0]) if len(seed) else 0
    return (first * 0x9E3779B97F4A7C15 + int(own)) % 2**63


@dataclass
class ClipCov(ScopedIntervention):
    """Clip-Cov. Knobs: `ratio` (r_c), `low` and `high` (ω), `scope` (micro is the official code's)."""

    name: ClassVar[str] = "clip-cov"
    card: ClassVar[Card] = Card(
        "2505.22617",
        examples=(
            "dapo+clip-cov(ratio=0.3, low=0.0, high=9.0)",
            "grpo+clip-cov(ratio=0.2, low=0.0, high=9.0, scope='step')",
        ),
        benches=OnBenches(tuned="ratio=0.1, low=0.5, high=50"),
    )
    ratio: float = 2e-4
    low: float = 1.0
    high: float = 5.0
    scope: str = "generation"

    def __post_init__(self) -> None:
        check_range(self, "ratio", 0.0, 1.0, above=True)
        check_range(self, "low", float("-inf"))
        check_range(self, "high", self.low)
        check_choice(self, "scope", SCOPES)

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        if self.scope == "micro":
            seed = torch.randint(2**31, (1,), generator=context.generator)
            return {"seed": seed.to(rollouts.trained.device).expand(len(rollouts))}
        return super().prepare(rollouts, advantages, context)

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        covariance = _token_covariance(rollouts.behaviour.logp, advantages, rollouts.trained, context)
        limits = {"ratio": self.ratio, "low": self.low, "high": self.high}
        return {"chosen": draw_clip_cov(covariance, rollouts.trained, context=context, **limits)}

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        if self.scope == "micro":
            covariance = token_covariance(update.current.logp, update.advantages, update.trained)
            generator = torch.Generator().manual_seed(_own_seed(prepared["seed"], update.current.logp))
            pool = update.trained & ~clip.silenced
            context = Context(generator=generator)
            chosen = _draw(covariance, update.trained, pool, self.ratio, self.low, self.high, context)
        else:
            chosen = prepared["chosen"] & update.trained & ~clip.silenced
        weight = (~chosen).to(update.advantages.dtype)
        return Weighting(weight=weight, metrics={"chosen_fraction": update.mean(chosen.float())})


@dataclass
class KLCov(ScopedIntervention):
    """KL-Cov. Knobs: `ratio` (k), `coef` (β), `scope` (generation, step, or micro as the official code)."""

    name: ClassVar[str] = "kl-cov"
    card: ClassVar[Card] = Card(
        "2505.22617",
        examples=("grpo+kl-cov(ratio=0.2)",),
        benches=OnBenches(tuned="ratio=0.1"),
    )
    ratio: float = 2e-3
    coef: float = 1.0
    scope: str = "generation"

    def __post_init__(self) -> None:
        check_range(self, "ratio", 0.0, 1.0, above=True)
        check_range(self, "coef", 0.0)
        check_choice(self, "scope", SCOPES)

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        covariance = _token_covariance(rollouts.behaviour.logp, advantages, rollouts.trained, context)
        return {"chosen": top_covariance(covariance, rollouts.trained, ratio=self.ratio, context=context)}

    def surrogate(self, surrogate: Surrogate) -> Surrogate:
        return PolicyGradient()

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Tensor:
        if self.scope == "micro":
            covariance = token_covariance(update.current.logp, update.advantages, update.trained)
            chosen = top_covariance(covariance, update.trained, ratio=self.ratio)
        else:
            chosen = prepared["chosen"]
        return torch.where(chosen, self.coef * update.log_ratio.abs(), 0.0)

    def cannot_act(self, updates_per_rollout: int) -> str | None:
        if updates_per_rollout > 1:
            return None
        return (
            "kl-cov cannot act with one update per rollout: |log π - log π_old| is 0 there, and so is its subgradient; "
            "take several updates per rollout, or use clip-cov"
        )
