"""AEPO's reward: on easy prompts dwelling on uncertain stretches costs, on hard ones it pays.

ARES: Multimodal Adaptive Reasoning via Difficulty-Aware Token-Level Entropy Shaping (arXiv 2510.08457). With n the
number of high-window-entropy tokens of a completion (`hwe_mask`), T its bucket's target and Δ = n - T:

    paper:     R = R_acc - 1[wrong] λ_d g_d(Δ),  λ_d = max(0, (E[n] - T) / (Var[n] + ε)),
               g = max(0, Δ) easy, |Δ| medium, max(0, -Δ) hard
    official:  R = R_acc + a score within ± cap of bounded shape (`aepo_score`), T = round(mean n of the batch's bucket)

As printed, λ_d is 0: the target is the very mean that it is compared with. ``variant="paper"`` takes for T the running
mean of earlier batches (decay 0.9; our reading), so that λ_d acts once usage has drifted up. The official code gives
every wrong answer a bonus, where the paper punishes it. It counts a token if it begins one of 174 words of reasoning;
``triggers`` names such words, and without them every token counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from entrokit.groups import group_sum

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts
from ..windows import HighWindows, difficulty, hwe_mask

__all__ = ["AEPOReward"]

VARIANTS = ("official", "paper")
BUCKETS = 3
_EPS = 1e-6
_LAG = 0.9
# By bucket: easy, medium, hard.
_FRACTION, _KAPPA, _TEMPERATURE, _CAP = (0.15, 0.25, 0.35), (2.0, 3.0, 4.0), (2.0, 2.5, 3.0), (1.0, 1.0, 1.2)
_WRONG = (0.6, 0.8, 1.0)
_ALPHA_RATE, _ALPHA_MOST = 0.05, 2.0


def aepo_score(right: Tensor, n_he: Tensor, target: Tensor, bucket: Tensor, alpha: Tensor) -> Tensor:
    """The official code's entropy score ``[B]``, which is added to the accuracy.

    Args:
        right: ``[B]`` bool. n_he: ``[B]``, high-window tokens. target: ``[B]``, of each one's bucket.
        bucket: ``[B]`` int, 0 easy, 1 medium, 2 hard. alpha: ``[B]``, weight of each one's bucket.
    """
    n, t = n_he.float(), target.float()
    fraction, kappa, temperature, cap, wrong = (
        torch.tensor(values, device=n.device)[bucket] for values in (_FRACTION, _KAPPA, _TEMPERATURE, _CAP, _WRONG)
    )
    delta, cap = n - t, alpha * cap
    margin = (fraction * t.clamp(min=1.0)).clamp(min=1.0)

    def fall(excess: Tensor, share: float = 1.0) -> Tensor:
        return -torch.minimum(cap, share * cap * _huber(excess, kappa) / (margin + kappa))

    def rise(excess: Tensor) -> Tensor:
        return cap * torch.sigmoid(excess / temperature)

    easy, hard = bucket == 0, bucket == 2
    when_right = fall(torch.where(easy, delta, delta.abs()) - margin)
    when_right = torch.where(
        hard, torch.where(delta >= -margin, rise(delta + margin), fall(-delta - margin, 0.5)), when_right
    )
    return torch.where(right, when_right, wrong * rise((delta - margin).clamp(min=0.0)))


def aepo_penalty(right: Tensor, n_he: Tensor, target: Tensor, bucket: Tensor, weight: Tensor) -> Tensor:
    """The paper's shaping ``[B]``, to be added: ``-1[wrong] λ_d g_d(n - T)``; ``weight``: λ_d of each one's bucket."""
    delta = n_he.float() - target.float()
    g = torch.where(bucket == 1, delta.abs(), torch.where(bucket == 0, delta, -delta).clamp(min=0.0))
    return torch.where(right, 0.0, -weight * g)


def drift_weight(mean: float, target: float, variance: float) -> float:
    """λ_d = max(0, (mean - target) / (variance + 1e-6)), variance of the population."""
    return max(0.0, (mean - target) / (variance + _EPS))


def _huber(x: Tensor, kappa: Tensor) -> Tensor:
    x = x.clamp(min=0.0)
    return torch.where(x <= kappa, x * x / (2.0 * kappa), x - kappa / 2.0)


@dataclass
class AEPOReward(Intervention):
    """AEPO's reward. Knobs: `variant`, `window` (w), `quantile`, `alpha` (the score's weight at the start), `triggers`
    (words, by spaces), `low` and `high` (groups whose accuracy lies outside are not trained on).

    The state is a threshold, three targets and three weights; it moves once a generation batch of training.
    """

    name: ClassVar[str] = "aepo-reward"
    card: ClassVar[Card] = Card(
        "2510.08457",
        examples=(
            "dapo+aepo-reward(window=2, quantile=0.5)",
            "grpo+aepo-reward(variant='paper', window=2)+aepo-kl(beta=0.1, variant='paper', window=2, quantile=0.5)",
        ),
        benches=OnBenches(tuned="window=2", impossible_on={"tabular": "a completion of one token has no window"}),
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    variant: str = "official"
    window: int = 4
    quantile: float = 0.95
    alpha: float = 0.5
    triggers: str = ""
    low: float = 0.01
    high: float = 0.99
    threshold: float | None = field(default=None, init=False, compare=False)
    targets: list[float | None] = field(default_factory=lambda: [None] * BUCKETS, init=False, compare=False)
    alphas: list[float] = field(init=False, compare=False)
    _trigger_ids: list[int] = field(default_factory=list, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_choice(self, "variant", VARIANTS)
        check_range(self, "window", 1)
        check_range(self, "quantile", 0.0, 1.0)
        check_range(self, "alpha", 0.0, _ALPHA_MOST)
        check_range(self, "low", 0.0, 1.0)
        check_range(self, "high", self.low, 1.0)
        self.alphas = [float(self.alpha)] * BUCKETS

    @property
    def separable(self) -> bool:
        return True

    def bind(self, encode: Callable[[str], Sequence[int]]) -> None:
        words = self.triggers.split()
        spelt = [s for w in words for s in (w, w.capitalize(), f" {w}", f" {w.capitalize()}")]
        # Words of several tokens are skipped: no single token stands for them.
        self._trigger_ids = sorted({ids[0] for ids in map(encode, spelt) if len(ids) == 1})
        if words and not self._trigger_ids:
            raise ValueError(f"aepo-reward: none of triggers={self.triggers!r} is a single token of this tokenizer")

    def windows(self, rollouts: Rollouts, context: Context) -> HighWindows:
        """The batch's windows of high entropy, by the threshold that includes it."""
        triggers = None
        if self._trigger_ids:
            triggers = torch.isin(rollouts.tokens, torch.tensor(self._trigger_ids, device=rollouts.tokens.device))
        official = self.variant == "official"
        return hwe_mask(
            rollouts.behaviour.require("entropy", self.name),
            rollouts.trained,
            self.window,
            self.quantile,
            align="following" if official else "start",
            before=self.threshold,
            triggers=triggers,
            context=context,
        )

    def reward(self, rollouts: Rollouts, rewards: Tensor, context: Context) -> Tensor:
        batch = self._measure(rollouts, context)
        right, bucket = rollouts.require_correct(self.name), batch.bucket
        target = rewards.new_tensor(batch.targets)[bucket]
        if self.variant == "official":
            return rewards + aepo_score(
                right, batch.windows.count, target, bucket, rewards.new_tensor(self.alphas)[bucket]
            )
        weight = rewards.new_tensor(batch.weights)[bucket]
        return rewards + aepo_penalty(right, batch.windows.count, target, bucket, weight)

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        groups, right = context.gather(rollouts.group), context.gather(rollouts.require_correct(self.name).float())
        rate = group_sum(right, groups) / group_sum(torch.ones_like(right), groups)
        _, own = context.gathered_with_own_part(rollouts.group)
        kept = (rate[own] >= self.low) & (rate[own] <= self.high)
        return torch.where(kept[:, None], advantages, 0.0)

    def remember(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> None:
        batch = self._measure(rollouts, context)
        self.threshold = batch.windows.threshold
        for d, mean in enumerate(batch.means):
            if mean is None:
                continue
            if self.variant == "official":
                drift = mean - batch.targets[d] if d < 2 else batch.targets[d] - mean
                self.alphas[d] = min(max(self.alphas[d] + _ALPHA_RATE * drift, 0.0), _ALPHA_MOST)
                self.targets[d] = batch.targets[d]
            else:
                before = self.targets[d]
                self.targets[d] = mean if before is None else _LAG * before + (1.0 - _LAG) * mean

    def _measure(self, rollouts: Rollouts, context: Context) -> _Batch:
        windows = self.windows(rollouts, context)
        own = buckets_of_rows(rollouts, context, self.name)
        groups, bucket, counts = (context.gather(x) for x in (rollouts.group, own, windows.count.float()))
        # Each prompt counts once, however many completions it has.
        share = 1.0 / group_sum(torch.ones_like(counts), groups)
        means: list[float | None] = []
        targets: list[float] = []
        weights: list[float] = []
        for d, before in enumerate(self.targets):
            inside = bucket == d
            if not bool(inside.any()):
                means, targets, weights = [*means, None], [*targets, before or 0.0], [*weights, 0.0]
                continue
            mean = float((counts * share)[inside].sum() / share[inside].sum())
            lagged = mean if before is None else before
            means.append(mean)
            targets.append(float(round(mean)) if self.variant == "official" else lagged)
            weights.append(drift_weight(mean, lagged, float(counts[inside].var(unbiased=False))))
        return _Batch(windows, own, means, targets, weights)

    def state_dict(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "targets": list(self.targets), "alphas": list(self.alphas)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.threshold, self.targets, self.alphas = state["threshold"], list(state["targets"]), list(state["alphas"])


@dataclass(frozen=True)
class _Batch:
    """A generation batch: windows and buckets of its rows, and of each bucket mean (None if empty), target and λ."""

    windows: HighWindows
    bucket: Tensor
    means: list[float | None]
    targets: list[float]
    weights: list[float]


def buckets_of_rows(rollouts: Rollouts, context: Context, who: str) -> Tensor:
    """The difficulty bucket of each completion's prompt, ``[B]`` int64, over all ranks.

    Raises:
        ValueError: nobody said which completions are right.
    """
    right = rollouts.require_correct(who)
    groups, own = context.gathered_with_own_part(rollouts.group)
    won = group_sum(context.gather(right.float()), groups)
    attempts = group_sum(torch.ones_like(won), groups)
    return difficulty(won, attempts)[own]
