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

from ..intervention import Intervention
from ..knobs import check_range
from ..update import Update


@dataclass
class EntropyBonus(Intervention):
    """Entropy bonus on every trained token. Knob: `coef`, the worth of one nat."""

    name: ClassVar[str] = "entropy-bonus"
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    coef: float = 1e-3

    def __post_init__(self) -> None:
        check_range(self, "coef", 0.0, open_low=True)

    @property
    def separable(self) -> bool:
        return True

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Tensor:
        return -self.coef * update.current.require("entropy", self.name)
