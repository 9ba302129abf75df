"""EPO as its released code computes it: an entropy bonus, and a constant that shifts the reported loss.

EPO (arXiv 2509.22576), code of WujiangXu/EPO. With H̄_t the mean entropy of turn t over all batches so far, the present
one included, and the mean over all trained tokens:

    loss = - coef mean(H - w_k alpha 1[H <= kappa_low H̄_t or H >= kappa_high H̄_t])
    w_k = 1 - 0.2 (1 - exp(-2 k / h)) for k <= h = floor(E / 2), then 0.8 exp(-3 (k - h) / (E - h))

The penalty is a comparison and has no gradient: **it trains as `entropy-bonus` does**; what it holds is the number in
the log. Three accidents of the code are left out: E and the turn from which it acts are fixed at 150 and 25, and turns
of batches that ended early are padded on the wrong side, so that their histories are those of other turns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..card import Card
from ..context import Context
from ..intervention import Intervention, Penalty
from ..knobs import check_range
from ..rollouts import Rollouts
from ..turns import Turns
from ..update import Update
from .epo import corridor_penalty

__all__ = ["OfficialEPO"]


def official_weight(step: int, total_steps: int = 150) -> float:
    """w_k: from 1 slowly to 0.83 in the first half, then from 0.8 towards 0; at the end's value beyond either end."""
    half, step = total_steps // 2, min(max(step, 0), total_steps)
    if step <= half:
        return 1.0 - 0.2 * (1.0 - math.exp(-2.0 * step / max(1, half)))
    return 0.8 * math.exp(-3.0 * (step - half) / (total_steps - half))


@dataclass
class OfficialEPO(Intervention):
    """The released form of EPO. Knobs: `coef` (λ), `alpha`, `kappa_low`, `kappa_high`, `total_steps` (E)."""

    name: ClassVar[str] = "epo-official"
    card: ClassVar[Card] = Card(
        "2509.22576",
        examples=("dapo+epo-official(coef=0.1)",),
        not_ranked="its penalty has no gradient: it trains as entropy-bonus does",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    coef: float = 1e-3
    alpha: float = 0.1
    kappa_low: float = 0.8
    kappa_high: float = 1.2
    total_steps: int = 150
    # Sum of the mean entropies and their number, turn by turn.
    seen: list[tuple[float, int]] = field(default_factory=list, init=False, compare=False)
    batches: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("coef", "alpha", "kappa_low"):
            check_range(self, name, 0.0)
        check_range(self, "kappa_high", self.kappa_low)
        check_range(self, "total_steps", 2)

    @property
    def separable(self) -> bool:
        return True

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        turns, like = Turns.of(rollouts), rollouts.behaviour.logp
        history = [total / count if count else 0.0 for total, count in self._with(rollouts, context)]
        # A rank without a turn looks up nothing, in whatever history there is.
        reference = like.new_tensor(history)[turns.order] if len(turns) else like.new_zeros(0)
        return {
            "reference": turns.spread(reference),
            "weight": like.new_tensor(official_weight(self.batches, self.total_steps)),
        }

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Penalty:
        H = update.current.require("entropy", self.name)
        outside = corridor_penalty(H, prepared["reference"], self.kappa_low, self.kappa_high, kind="indicator")
        return Penalty(-self.coef * (H - prepared["weight"] * self.alpha * outside), aggregation="token-mean")

    def remember(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> None:
        self.seen = self._with(rollouts, context)
        self.batches += 1

    def _with(self, rollouts: Rollouts, context: Context) -> list[tuple[float, int]]:
        """The history with this batch, over all ranks."""
        turns = Turns.of(rollouts)
        order = context.gather(turns.order)
        mean = context.gather(turns.mean(rollouts.behaviour.require("entropy", self.name)))
        longest = max(len(self.seen), int(order.max()) + 1 if len(order) else 0)
        history = self.seen + [(0.0, 0)] * (longest - len(self.seen))
        for t in torch.unique(order).tolist():
            total, count = history[t]
            history[t] = (total + float(mean[order == t].mean()), count + 1)
        return history

    def state_dict(self) -> dict[str, Any]:
        return {"seen": [list(pair) for pair in self.seen], "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = [(float(total), int(count)) for total, count in state["seen"]]
        self.batches = int(state["batches"])
