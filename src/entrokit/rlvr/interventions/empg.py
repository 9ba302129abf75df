"""EMPG: confident turns answer more for the outcome, uncertain ones less; a clear next turn is paid a little.

Harnessing Uncertainty: Entropy-Modulated Policy Gradients for Long-Horizon LLM Agents (arXiv 2509.09265). With H the
mean entropy of a turn under the sampling policy, over the N turns of the batch:

    H~ = (H - min) / (max - min + 1e-8)        g = exp(-k H~) / mean exp(-k H~)        f = exp(-k' H~)
    A_mod = A g + zeta f(next turn), where there is one        A_final = A_mod - mean A_mod

A: the episode's advantage from the base. Everything is detached; a batch's mean counts every turn once. The bonus pays
confidence as such, so it can speed up collapse; groups of equal rewards, whose A is 0, get gradient from it.

The authors' listing works in place on token advantages; here turns are a vector, spread over their tokens at the end.
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
from ..rollouts import Rollouts
from ..turns import Turns

__all__ = ["EMPG", "empg_advantages"]

_EPS = 1e-8


def empg_advantages(
    step_entropy: Tensor,
    step_adv: Tensor,
    traj_id: Tensor,
    step_index: Tensor,
    *,
    k: float = 1.0,
    k_future: float = 1.0,
    zeta: float = 0.1,
    context: Context | None = None,
) -> Tensor:
    """Advantages of turns, ``[N]``, of mean 0 over all ranks.

    Args:
        step_entropy: mean token entropy of each turn, ``[N]`` nats. step_adv: its episode's advantage, ``[N]``.
        traj_id, step_index: ``[N]`` int, the episode of a turn and its place there. Episodes do not span ranks.
        k: sharpness of the scale. k_future: of the bonus. zeta: size of the bonus.
    """
    context = context or Context()
    H = step_entropy.detach()
    everywhere = context.gather(H)
    if not everywhere.numel():
        return step_adv
    low, high = everywhere.min(), everywhere.max()
    scaled = (H - low) / (high - low + _EPS)
    weight = torch.exp(-k * scaled)
    total, count = context.reduce(torch.stack([weight.sum(), weight.new_tensor(float(len(H)))]))
    modulated = step_adv * weight / (total / count)
    # Turns in order of episode and place: the next one is the neighbour, if it belongs to the same episode.
    order = torch.argsort(step_index, stable=True)
    order = order[torch.argsort(traj_id[order], stable=True)]
    here, there = order[:-1], order[1:]
    follows = traj_id[here] == traj_id[there]
    modulated[here[follows]] += zeta * torch.exp(-k_future * scaled[there[follows]])
    centred: Tensor = modulated - context.reduce(modulated.sum()) / count
    return centred


@dataclass
class EMPG(Intervention):
    """EMPG. Knobs: `k` (sharpness of the scale), `k_future` (k'), `zeta` (ζ, size of the bonus)."""

    name: ClassVar[str] = "empg"
    card: ClassVar[Card] = Card(
        "2509.09265",
        examples=("grpo+empg",),
        benches=OnBenches(tuned="k=3.0, zeta=0.5"),
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    k: float = 1.0
    k_future: float = 1.0
    zeta: float = 0.1

    def __post_init__(self) -> None:
        check_range(self, "k", 0.0)
        check_range(self, "k_future", 0.0)
        check_range(self, "zeta", 0.0)

    @property
    def separable(self) -> bool:
        return True

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        turns = Turns.of(rollouts)
        values = empg_advantages(
            turns.mean(rollouts.behaviour.require("entropy", self.name)),
            turns.mean(advantages),
            turns.trajectory,
            turns.order,
            k=self.k,
            k_future=self.k_future,
            zeta=self.zeta,
            context=context,
        )
        return turns.spread(values)
