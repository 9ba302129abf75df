"""ARM (ProGRPO): an answer that the policy was sure of is reinforced less, a rare right one more.

Back to Basics: Revisiting Exploration in Reinforcement Learning for LLM Reasoning via Generative Probabilities (arXiv
2602.05281). With the confidence of an answer taken over its least likely tokens, and that of its prompt,

    c(o|q) = exp(mean of log π over the ⌈ρ |o|⌉ least likely tokens)       c(q) = exp(mean log π of the prompt's tokens)
    Ã = A + α (c(q) - c(o|q))        in a group with a right answer; Ã = A elsewhere

No official code is known. α's value, the definition of c(q) and whether groups of only right answers take part are
reconstructed here; the last is the knob ``active``. Confidences are the sampling policy's, without gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from entrokit.groups import as_float, group_moments, group_sum, widest

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_bool, check_choice, check_range
from ..rollouts import Rollouts

__all__ = ["ARM", "arm_advantage", "low_prob_confidence"]

ACTIVE = ("any_correct", "mixed")
SELECTIONS = ("probability", "entropy")


def low_prob_confidence(logp: Tensor, mask: Tensor, frac: float = 0.2, *, uncertainty: Tensor | None = None) -> Tensor:
    """Geometric mean probability of each answer's least likely tokens, ``[B]`` in (0, 1]; 1 for an empty answer.

    Args:
        logp: ``[B, T]``. mask: ``[B, T]`` bool. frac: share of tokens taken, rounded up, in (0, 1].
        uncertainty: ``[B, T]``, takes the tokens with the largest of these instead (entropies, say).

    Ties go by position.
    """
    order = logp if uncertainty is None else -uncertainty
    ranked = torch.argsort(torch.where(mask, order, torch.inf), dim=1, stable=True)
    sizes = mask.sum(1)
    # ρ n in exact steps: 0.2 · 5 must not become 2 tokens by rounding up 1.0000000000000002.
    chosen = torch.ceil(frac * sizes.to(widest(sizes)) - 1e-9).clamp(min=1).long()
    rank = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(logp.shape[1], device=logp.device).expand_as(ranked)
    )
    taken = (rank < chosen[:, None]) & mask
    total = torch.where(taken, logp, 0.0).sum(1)
    return (total / taken.sum(1).clamp(min=1)).exp().detach()


def arm_advantage(
    rewards: Tensor,
    answer_conf: Tensor,
    prompt_conf: Tensor,
    group: Tensor,
    alpha: float = 0.3,
    active: str = "any_correct",
    ddof: int = 0,
    eps: float = 1e-6,
    correct_only: bool = False,
    *,
    correct: Tensor | None = None,
    center: bool = False,
) -> Tensor:
    """ARM's advantages ``[B]``; 0 where the reward is NaN.

    Args:
        rewards, answer_conf, prompt_conf: ``[B]``. group: ``[B]`` int.
        active: ``any_correct``: groups with a right answer; ``mixed``: groups with a right and a wrong one.
        ddof: 0 for the population's standard deviation, 1 for the sample's. correct_only: only right answers change.
        correct: ``[B]`` bool, right answers; those with a positive reward by default.
        center: makes the added terms of a group sum to 0.
    """
    rewards = as_float(rewards)
    scored = ~torch.isnan(rewards)
    value = rewards.nan_to_num(nan=0.0)
    right = ((value > 0) if correct is None else correct) & scored

    def total(x: Tensor) -> Tensor:
        return group_sum(torch.where(scored, x, 0.0), group)

    of_group = group_moments(rewards, group, ddof=ddof)
    count, rights = of_group.count, total(right.to(value.dtype))
    acts = (rights > 0) & ((rights < count) if active == "mixed" else True)
    term = alpha * (prompt_conf - answer_conf).detach()
    if center:
        term = term - total(term) / count.clamp(min=1).to(term.dtype)
    if correct_only:
        acts = acts & right
    advantage = (of_group.centred / (of_group.std + eps)).to(value.dtype) + torch.where(acts, term, 0.0)
    return torch.where(scored, advantage, 0.0)


@dataclass
class ARM(Intervention):
    """ARM's advantages instead of the base's. Knobs: `alpha` (α), `low_frac` (ρ), `prompt_frac`, `select` (tokens by
    probability or entropy), `active`, `correct_only`, `center`, `ddof`.
    """

    name: ClassVar[str] = "arm"
    card: ClassVar[Card] = Card(
        "2602.05281",
        examples=("grpo+arm(low_frac=0.4)",),
        benches=OnBenches(
            tuned="alpha=1.0", impossible_on={"tabular": "there are no prompts whose log-probabilities it needs"}
        ),
        instead={"tinker": "use perplexity-shaping, or this one under TRL or verl"},
    )
    replaces: ClassVar[str | None] = "advantage"
    needs_prompts: ClassVar[bool] = True
    alpha: float = 0.3
    low_frac: float = 0.2
    prompt_frac: float = 1.0
    select: str = "probability"
    active: str = "any_correct"
    correct_only: bool = False
    center: bool = False
    ddof: int = 0

    def __post_init__(self) -> None:
        check_range(self, "alpha", 0.0)
        check_range(self, "low_frac", 0.0, 1.0, above=True)
        check_range(self, "prompt_frac", 0.0, 1.0, above=True)
        check_choice(self, "select", SELECTIONS)
        check_choice(self, "active", ACTIVE)
        check_bool(self, "correct_only")
        check_bool(self, "center")
        if self.ddof not in (0, 1):
            raise ValueError(f"arm: ddof must be 0 or 1, got {self.ddof!r}")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy"} if self.select == "entropy" else set())

    @property
    def separable(self) -> bool:
        return True

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        if rollouts.prompt_logp is None or rollouts.prompt_mask is None:
            raise ValueError(
                "arm: the engine handed over no log-probabilities of the prompts (prompt_logp, prompt_mask)"
            )
        behaviour = rollouts.behaviour
        uncertainty = behaviour.require("entropy", self.name) if self.select == "entropy" else None
        answer = low_prob_confidence(behaviour.logp, rollouts.trained, self.low_frac, uncertainty=uncertainty)
        prompt = low_prob_confidence(rollouts.prompt_logp, rollouts.prompt_mask, self.prompt_frac)
        rewards, own = context.gathered_with_own_part(rollouts.reward)
        correct = context.gather(rollouts.require_correct(self.name))
        values = arm_advantage(
            rewards,
            context.gather(answer.to(rewards.dtype)),
            context.gather(prompt.to(rewards.dtype)),
            context.gather(rollouts.group),
            self.alpha,
            self.active,
            self.ddof,
            correct_only=self.correct_only,
            correct=correct,
            center=self.center,
        )
        return values[own][:, None].expand_as(advantages)
