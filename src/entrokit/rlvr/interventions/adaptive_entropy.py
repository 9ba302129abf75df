"""Adaptive entropy bonus: its coefficient rises while entropy is too low, falls while it is not, and acts only below.

Skywork Open Reasoner 1 Technical Report (arXiv 2505.22312), adaptive entropy control in MAGIC. With the entropy e of
the policy and a target, a coefficient c is kept within bounds, and the loss of an optimiser step gains ``-α H``, H the
mean entropy of its tokens:

    c ← c + delta  if e <= target,  c - delta  otherwise;      α = c where e <= target, else 0.

Departs from the paper in what e is: the paper looks at the batch that is about to be trained on; here, as in TRL
(`GRPOConfig(use_adaptive_entropy=True)`), it is the mean over the tokens of the optimiser step before, so nothing acts
in the first step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention, Penalty
from ..knobs import check_range
from ..rollouts import Rollouts
from ..update import Update

__all__ = ["AdaptiveEntropy", "adapted_coefficient"]


def adapted_coefficient(
    coefficient: float, entropy: float, *, target: float, delta: float, low: float, high: float
) -> float:
    """The coefficient after a step with mean ``entropy`` (nats): ``delta`` up at or below the target, else down.

    Kept in ``[low, high]``.
    """
    if entropy <= target:
        return min(coefficient + delta, high)
    return max(coefficient - delta, low)


@dataclass
class AdaptiveEntropy(Intervention):
    """Adaptive entropy bonus. Knobs, as TRL names them without ``entropy_``: `coef` (at the start), `target` (nats).

    `coef_delta` is what a step changes the coefficient by, `coef_min` and `coef_max` its bounds.
    """

    name: ClassVar[str] = "adaptive-entropy"
    card: ClassVar[Card] = Card(
        "2505.22312",
        examples=("dapo+adaptive-entropy(coef=0.05, target=2.0)",),
        benches=OnBenches(tuned="target=0.45, coef_delta=0.001"),
        instead={"tinker": "use clip-cov or kl-cov, or this one under TRL or verl"},
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    coef: float = 0.0
    target: float = 0.2
    coef_delta: float = 0.005
    coef_min: float = 0.0
    coef_max: float = 1.0
    # Entropy of the optimiser step before; None before the first.
    seen: float | None = field(default=None, init=False)
    coefficient: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        check_range(self, "target", 0.0)
        check_range(self, "coef_delta", 0.0, above=True)
        check_range(self, "coef_min", 0.0)
        check_range(self, "coef_max", self.coef_min)
        check_range(self, "coef", self.coef_min, self.coef_max)
        self.coefficient = self.coef

    @property
    def separable(self) -> bool:
        return True

    @property
    def applied(self) -> float:
        """α of the present optimiser step."""
        return self.coefficient if self.seen is not None and self.seen <= self.target else 0.0

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        return {"coefficient": torch.tensor(self.applied, dtype=torch.float64)}

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Penalty:
        entropy = update.current.require("entropy", self.name)
        return Penalty(-self.applied * entropy, aggregation="token-mean")

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        bounds = {"target": self.target, "delta": self.coef_delta, "low": self.coef_min, "high": self.coef_max}
        self.seen = metrics["entropy"]
        self.coefficient = adapted_coefficient(self.coefficient, metrics["entropy"], **bounds)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "coefficient": self.coefficient}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        seen, coefficient = state["seen"], float(state["coefficient"])
        self.seen, self.coefficient = None if seen is None else float(seen), coefficient
