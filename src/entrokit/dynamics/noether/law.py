"""The law of one symmetry under one step of SGD; see `monitor`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .symmetry import Part, Symmetry, along_gradient


@dataclass(frozen=True, eq=False)
class Balance:
    """One symmetry at the latest step, ``[blocks]`` float64 each.

    Attributes:
        quantity: what gradient flow would keep, before the step: |q|², |q_1|² − |q_2|², or the sum of q.
        charge: C = ⟨q̇, G⟩; half the quantity's velocity, of translations all of it, up to η E.
        kinetic: E, by which the kinetic energy breaks the symmetry: |q̇|², |q̇_1|² − |q̇_2|², or 0.
        residual: what is left of the law, −⟨g, G⟩ and whatever else moved the parameters; NaN where some of them stood
            still (no gradient, learning rate 0, a step that a scaler skipped), so that there is no law to keep.
    """

    quantity: Tensor
    charge: Tensor
    kinetic: Tensor
    residual: Tensor


@dataclass
class Watched:
    """A part: its parameter, and what the next step carries on of C + ηE; ``started``, whether there is a buffer."""

    part: Part
    parameter: nn.Parameter
    carried: Tensor = field(default_factory=lambda: torch.zeros(()))
    started: bool = False


@dataclass
class Tracked:
    """A symmetry, and what the steps so far say of it; ``along`` and ``size`` are sums of `along_gradient`."""

    symmetry: Symmetry
    watched: list[Watched]
    along: Tensor
    size: Tensor
    balance: Balance | None = field(default=None)

    @property
    def breaking(self) -> Tensor:
        """Σ |⟨g, G⟩| / Σ |g| |G| over the steps that were tested, ``[blocks]``; 0 before."""
        return torch.where(self.size == 0, 0.0, self.along / self.size)

    def state_dict(self) -> dict[str, Any]:
        """What was seen, without the symmetry itself."""
        balance = None if self.balance is None else {name: value.clone() for name, value in vars(self.balance).items()}
        return {"along": self.along.clone(), "size": self.size.clone(), "balance": balance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what was seen."""
        self.along, self.size = (state[name].to(self.along).clone() for name in ("along", "size"))
        balance = state["balance"]
        self.balance = balance and Balance(**{name: value.to(self.along).clone() for name, value in balance.items()})

    def test(self, parameters: dict[str, Tensor]) -> None:
        """Holds the gradients that are there against the symmetry, at the parameters that they were taken at."""
        gradients = {one.part.name: one.parameter.grad for one in self.watched}
        present = {name: grad for name, grad in gradients.items() if grad is not None}
        if len(present) < len(gradients):
            return
        along, size = along_gradient(self.symmetry, parameters, present)
        finite = torch.isfinite(along) & torch.isfinite(size)
        self.along = self.along + torch.where(finite, along, 0.0)
        self.size = self.size + torch.where(finite, size, 0.0)


def move(symmetry: Symmetry, one: Watched, group: dict[str, Any], before: Tensor) -> Balance:
    """What a step with the settings of a ``group`` did to a part that was at ``before``."""
    lr = float(group["lr"])
    was = one.part.rows(before).double()
    change = one.part.rows(one.parameter.detach()).double() - was
    generator = symmetry.generator(one.part, before)
    inner = (was * generator).sum(1)
    velocity = change / lr if lr else torch.full_like(change, torch.nan)
    charge = (velocity * generator).sum(1)
    kinetic = torch.zeros_like(charge)
    if symmetry.kind != "translation":
        kinetic = one.part.sign * velocity.square().sum(1)
    # torch's first momentum buffer is the gradient itself, without dampening.
    damped = 1 - group["dampening"] if group["momentum"] and one.started else 1.0
    residual = charge - group["momentum"] * one.carried + damped * group["weight_decay"] * inner
    return Balance(inner, charge, kinetic, torch.where((change == 0).all(), torch.nan, residual))


def carried(symmetry: Symmetry, one: Watched, buffer: Tensor | None) -> Tensor:
    """⟨q̇_{n−1}, G_n⟩, which is C + ηE of the step before, from the optimizer's own velocity −v.

    So a rate of 0, a step that is skipped, or a move from outside makes no difference to the step behind it.
    """
    generator = symmetry.generator(one.part, one.parameter)
    if buffer is None:
        return torch.zeros_like(generator[:, 0])
    return -(one.part.rows(buffer).double() * generator).sum(1)
