"""EPO: an entropy bonus for agents, and a corridor around the entropy's own history.

EPO: Entropy-regularized Policy Optimization for LLM Agents Reinforcement Learning (arXiv 2509.22576). With H the
current entropy of a token, H_W the mean entropy of all steps so far, and means over tokens, then turns, then episodes:

    P = [kappa_low H_W - H]+ + [H - kappa_high H_W]+            loss = - coef (mean H - beta_k alpha mean P)
    beta_k = 1 + exp(-gamma k / k_mid),  k_mid = floor(steps / 2)

Where alpha beta_k < 1, as in the published settings, entropy above the corridor is still pushed up, only less; a
ceiling needs alpha beta_k > 1. kappa_low = 0, as in the experiments, has no lower side.

Departures: k counts optimiser steps, and so does the history. The official code's penalty is a constant without
gradient (``kind="indicator"``), its history is one of turns that includes the present: see `epo_official`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from entrokit.groups import group_sum

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention, Penalty, Weighting
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts
from ..surrogates import Clip
from ..turns import Turns
from ..update import Update

__all__ = ["EPO", "corridor_penalty", "epo_beta"]

AGGREGATIONS = ("turn", "token")
KINDS = ("hinge", "indicator")


def epo_beta(step: int, total_steps: int, gamma: float = 3.0) -> float:
    """The weight of the corridor at a step, from 2 down towards 1 (Eq. 5)."""
    return 1.0 + math.exp(-gamma * step / max(1, total_steps // 2))


def corridor_penalty(
    entropy: Tensor, ref: float | Tensor, kappa_l: float = 0.0, kappa_r: float = 2.0, kind: str = "hinge"
) -> Tensor:
    """How far an entropy lies outside ``[kappa_l ref, kappa_r ref]``, in nats, of the entropy's shape (Eq. 3).

    Args:
        entropy: nats, any shape. ref: nats; receives no gradient.
        kind: ``hinge`` (the paper), or ``indicator`` (the official code): 1 on the bounds and outside, no gradient.
    """
    low, high = (torch.as_tensor(k * ref, device=entropy.device).detach() for k in (kappa_l, kappa_r))
    if kind == "indicator":
        return ((entropy <= low) | (entropy >= high)).to(entropy.dtype).detach()
    if kind != "hinge":
        raise ValueError(f"epo: unknown kind {kind!r}; valid names are {list(KINDS)}")
    return (low - entropy).clamp(min=0.0) + (entropy - high).clamp(min=0.0)


def turn_weights(rollouts: Rollouts, context: Context | None = None) -> Tensor:
    """Weights ``[B, T]`` of a mean over tokens, turns and episodes (Eq. 2), times the rows of an episode.

    Summed over a batch's tokens and divided by its rows they give that mean; episodes without tokens count for none.
    """
    context = context or Context()
    turns = Turns.of(rollouts)
    number = group_sum(torch.ones_like(turns.tokens), turns.trajectory)
    episodes = float(len(torch.unique(turns.trajectory)))
    rows, many = context.reduce(turns.tokens.new_tensor([float(len(rollouts)), episodes]))
    weight: Tensor = turns.spread(1.0 / (turns.tokens * number)) * rows / many.clamp(min=1)
    return weight


@dataclass
class EPO(Intervention):
    """EPO. Knobs: `coef` (λ), `alpha` (α), `kappa_low`, `kappa_high` (κ), `gamma` (γ), `agg` (turn, or token for a mean
    over tokens), `total_steps` (K; the run's by default).
    """

    name: ClassVar[str] = "epo"
    card: ClassVar[Card] = Card(
        "2509.22576",
        examples=(
            "grpo+epo(coef=0.1, alpha=5.0, kappa_low=0.8, kappa_high=1.2, total_steps=9)",
            "dapo+epo(coef=0.1, agg='token', total_steps=9)",
        ),
        benches=OnBenches(tuned="coef=0.02, alpha=1.0, kappa_low=0.8, kappa_high=1.2"),
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    coef: float = 1e-3
    alpha: float = 0.1
    kappa_low: float = 0.0
    kappa_high: float = 2.0
    gamma: float = 3.0
    agg: str = "turn"
    total_steps: int | None = None
    seen: tuple[float, int] = field(default=(0.0, 0), init=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("coef", "alpha", "kappa_low", "gamma"):
            check_range(self, name, 0.0)
        check_range(self, "kappa_high", self.kappa_low)
        check_choice(self, "agg", AGGREGATIONS)
        check_range(self, "total_steps", 1, optional=True)

    @property
    def separable(self) -> bool:
        return True

    @property
    def reference(self) -> float | None:
        """Mean entropy of all optimiser steps so far, in nats."""
        total, count = self.seen
        return total / count if count else None

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        like = rollouts.behaviour.logp
        # Without a history there is no corridor: weight 0, whatever stands in for the reference. An evaluation before
        # the first step, of a run whose length is not known yet, therefore asks for none.
        beta = 0.0 if self.reference is None else self._beta(context)
        prepared = {"reference": like.new_tensor(self.reference or 0.0), "beta": like.new_tensor(beta)}
        return prepared | ({"weight": turn_weights(rollouts, context)} if self.agg == "turn" else {})

    def _beta(self, context: Context) -> float:
        steps = self.total_steps or context.total_steps
        if not steps:
            raise ValueError("epo: the engine did not say how many steps the run has; write epo(total_steps=...)")
        return epo_beta(context.step, steps, self.gamma)

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Penalty:
        H = update.current.require("entropy", self.name)
        outside = corridor_penalty(H, prepared["reference"], self.kappa_low, self.kappa_high)
        loss = -self.coef * (H - prepared["beta"] * self.alpha * outside)
        if self.agg == "token":
            return Penalty(loss, aggregation="token-mean")
        return Penalty(loss * prepared["weight"], aggregation="seq-mean-token-sum")

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        H = update.current.require("entropy", self.name).detach()
        outside = corridor_penalty(H, prepared["reference"], self.kappa_low, self.kappa_high)
        return Weighting(metrics={"entropy": update.mean(H), "inside": update.mean((outside == 0).float())})

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        total, count = self.seen
        self.seen = (total + metrics[f"{self.name}/entropy"], count + 1)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": list(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        total, count = state["seen"]
        self.seen = (float(total), int(count))
