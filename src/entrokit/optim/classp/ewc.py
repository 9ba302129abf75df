"""Elastic weight consolidation: weights that mattered are held by springs (Kirkpatrick et al., arXiv 1612.00796).

    L(w) = L_B(w) + Σ_tasks Σ_i λ/2 F_i (w_i - w*_i)²        (equation 3, a penalty a task)

F is the diagonal of the Fisher information at the weights w* that a task ended with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .update import at_least_float32


class EWC:
    """The penalty, to be added to the loss of every task after the first.

        ewc = EWC(model, strength=100.0)
        loss = criterion(model(x), y) + ewc.penalty()
        ...  # train on a task, then
        ewc.consolidate(diagonal_fisher(model, x))

    It holds two tensors a parameter for every task: save its `state_dict` with the model.

    Args:
        model: whose trainable parameters are held. strength: λ, at least 0.

    Attributes:
        tasks: (F, w*) of every task, by names of parameters.

    Raises:
        ValueError: a strength out of range, or a model without trainable parameters.
    """

    def __init__(self, model: nn.Module, strength: float) -> None:
        self.strength = _checked_strength(strength)
        self.tasks: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self._params = {name: param for name, param in model.named_parameters() if param.requires_grad}
        if not self._params:
            raise ValueError("EWC: the model has no trainable parameters")

    def consolidate(self, fisher: Mapping[str, Tensor]) -> None:
        """Hold the weights where they are now, each by its Fisher information.

        Raises:
            ValueError: names or shapes that are not those of the parameters, or an entry below 0 or not finite.
        """
        self._check_fisher(fisher, "EWC.consolidate")
        anchor = {name: param.detach().clone() for name, param in self._params.items()}
        self.tasks.append(({name: value.detach().clone() for name, value in fisher.items()}, anchor))

    def penalty(self) -> Tensor:
        """λ/2 Σ_tasks Σ_i F_i (w_i - w*_i)², 0-dim, differentiable; 0 before the first task ended."""
        first = next(iter(self._params.values()))
        total = first.new_zeros((), dtype=at_least_float32(first.dtype))
        for fisher, anchor in self.tasks:
            for name, param in self._params.items():
                moved = (param - anchor[name]).to(at_least_float32(param.dtype))
                total = total + (fisher[name] * moved.square()).sum()
        return 0.5 * self.strength * total

    def state_dict(self) -> dict[str, Any]:
        """``strength``, and of every task ``fisher`` and ``weights`` by names of parameters: the tensors, no copies."""
        return {
            "strength": self.strength,
            "tasks": [{"fisher": dict(fisher), "weights": dict(anchor)} for fisher, anchor in self.tasks],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes strength and tasks of another's `state_dict`, as copies of the parameters' devices and dtypes; Fisher
        information is float32 at least.

        Raises:
            ValueError: as the class and `consolidate`, or what is no such dictionary; nothing was loaded.
        """
        where = "EWC.load_state_dict"
        lacking = sorted({"strength", "tasks"} - state_dict.keys())
        if lacking:
            raise ValueError(f"{where}: this is no state of an EWC; it lacks {', '.join(lacking)}")
        strength = _checked_strength(state_dict["strength"])
        for index, task in enumerate(state_dict["tasks"]):
            lacking = sorted({"fisher", "weights"} - task.keys())
            if lacking:
                raise ValueError(f"{where}: task {index} lacks {', '.join(lacking)}")
            self._check_fisher(task["fisher"], f"{where}: task {index}")
            shapes = {name: value.shape for name, value in task["weights"].items()}
            wrong = sorted(dict(shapes.items() ^ {name: p.shape for name, p in self._params.items()}.items()))
            if wrong:
                raise ValueError(
                    f"{where}: task {index}: weights need the names and shapes of the model; differ at {wrong}"
                )
            if not all(bool(value.isfinite().all()) for value in task["weights"].values()):
                raise ValueError(f"{where}: task {index}: weights must be finite")
        self.strength = strength
        self.tasks = [
            (self._own(task["fisher"], at_least_float32), self._own(task["weights"])) for task in state_dict["tasks"]
        ]

    def _check_fisher(self, fisher: Mapping[str, Tensor], where: str) -> None:
        if fisher.keys() != self._params.keys():
            wrong = sorted(fisher.keys() ^ self._params.keys())
            raise ValueError(f"{where}: needs the Fisher information of every parameter; differs at {wrong}")
        for name, value in fisher.items():
            if value.shape != self._params[name].shape or not bool(((value >= 0.0) & value.isfinite()).all()):
                raise ValueError(f"{where}: {name} needs finite values >= 0 of the parameter's shape")

    def _own(
        self, values: Mapping[str, Tensor], kind: Callable[[torch.dtype], torch.dtype] = lambda own: own
    ) -> dict[str, Tensor]:
        """Copies in the order, and of the devices and the kind of dtypes, of the parameters."""
        return {
            name: torch.empty_like(param, dtype=kind(param.dtype), requires_grad=False).copy_(values[name].detach())
            for name, param in self._params.items()
        }


def _checked_strength(strength: float) -> float:
    if not 0.0 <= strength < math.inf:
        raise ValueError(f"EWC: strength must be finite and at least 0, got {strength}")
    return strength
