"""The plain entropy bonus: the loss falls with the policy's entropy, whatever the reward says.

Asynchronous Methods for Deep Reinforcement Learning (A3C, arXiv 1602.01783, section 4): ``-coef · H(π(·|s))`` is added
to the loss of each token. The oldest remedy, and the one that blows entropy up where `coef` is too large for the reward
to hold against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..card import Card, OnBenches
from ..intervention import Intervention
from ..knobs import check_range
from ..update import Update

__all__ = ["EntropyBonus"]


@dataclass
class EntropyBonus(Intervention):
    """Entropy bonus on every trained token. Knob: `coef`, the worth of one nat."""

    name: ClassVar[str] = "entropy-bonus"
    card: ClassVar[Card] = Card(
        "1602.01783",
        examples=("grpo+entropy-bonus(coef=0.1)",),
        benches=OnBenches(tuned="coef=0.02"),
        instead={"tinker": "use clip-cov or kl-cov, or this one under TRL or verl"},
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    coef: float = 1e-3

    def __post_init__(self) -> None:
        check_range(self, "coef", 0.0, above=True)

    @property
    def separable(self) -> bool:
        return True

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Tensor:
        return -self.coef * update.current.require("entropy", self.name)
