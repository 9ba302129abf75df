"""Elastic weight consolidation: weights that mattered are held by springs (Kirkpatrick et al., arXiv 1612.00796).

    L(w) = L_B(w) + Σ_tasks Σ_i λ/2 F_i (w_i - w*_i)²        (equation 3, a penalty a task)

F is the diagonal of the Fisher information at the weights w* that a task ended with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


def diagonal_fisher(
    model: nn.Module, inputs: Tensor, labels: Tensor | None = None, *, chunk: int = 64
) -> dict[str, Tensor]:
    """E_x E_{y ~ p(y|x)} (∂ log p(y|x) / ∂w)², of a classifier: a tensor of the parameter's shape each, at least 0.

    Args:
        model: gives logits ``[N, C]``; each row from its own input alone (no batch normalisation in training mode).
        inputs: ``[N, ...]``. labels: ``[N]``, instead of the expectation over all C classes: those that were drawn from
            the model (an unbiased estimate at 1/C of the cost), or those of the data (the "empirical Fisher").
        chunk: inputs at a time; so many gradients of all parameters are held.

    Raises:
        ValueError: no inputs, labels of another number, logits of another shape, no trainable
            parameters, or a chunk below 1.
    """
    if not len(inputs) or chunk < 1:
        raise ValueError(f"diagonal_fisher: needs inputs and chunk >= 1, got {len(inputs)} and {chunk}")
    if labels is not None and labels.shape != inputs.shape[:1]:
        raise ValueError(f"diagonal_fisher: {len(inputs)} inputs need as many labels, got {list(labels.shape)}")
    params = {name: param.detach() for name, param in model.named_parameters() if param.requires_grad}
    if not params:
        raise ValueError("diagonal_fisher: the model has no trainable parameters")

    def log_likelihood(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, values, (x[None],))
        return logits.log_softmax(-1)[0].gather(-1, y[None])[0]

    scores = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    fisher = {name: torch.zeros_like(param) for name, param in params.items()}

    def add(x: Tensor, y: Tensor, weight: Tensor) -> None:
        for name, score in scores(params, x, y).items():
            fisher[name] += torch.tensordot(weight, score.square(), 1) / len(inputs)

    for rows in torch.split(torch.arange(len(inputs), device=inputs.device), chunk):
        x = inputs[rows]
        if labels is not None:
            add(x, labels[rows], torch.ones_like(rows, dtype=next(iter(params.values())).dtype))
            continue
        with torch.no_grad():
            logits = model(x)
        if logits.dim() != 2 or len(logits) != len(x):
            raise ValueError(f"diagonal_fisher: logits must be [{len(x)}, classes], got {list(logits.shape)}")
        for c, weight in enumerate(logits.softmax(-1).unbind(-1)):
            add(x, torch.full_like(rows, c), weight)
    return fisher


class EWC:
    """The penalty, to be added to the loss of every task after the first.

        ewc = EWC(model, strength=100.0)
        loss = criterion(model(x), y) + ewc.penalty()
        ...  # train on a task, then
        ewc.consolidate(diagonal_fisher(model, x))

    It holds two tensors a parameter for every task.

    Args:
        model: whose trainable parameters are held. strength: λ, at least 0.

    Attributes:
        tasks: (F, w*) of every task, by names of parameters.

    Raises:
        ValueError: a strength out of range, or a model without trainable parameters.
    """

    def __init__(self, model: nn.Module, strength: float) -> None:
        if not 0.0 <= strength < math.inf:
            raise ValueError(f"EWC: strength must be finite and at least 0, got {strength}")
        self.strength = strength
        self.tasks: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self._params = {name: param for name, param in model.named_parameters() if param.requires_grad}
        if not self._params:
            raise ValueError("EWC: the model has no trainable parameters")

    def consolidate(self, fisher: Mapping[str, Tensor]) -> None:
        """Hold the weights where they are now, each by its Fisher information.

        Raises:
            ValueError: names or shapes that are not those of the parameters, or an entry below 0 or not finite.
        """
        if fisher.keys() != self._params.keys():
            wrong = sorted(fisher.keys() ^ self._params.keys())
            raise ValueError(f"EWC.consolidate: needs the Fisher information of every parameter; differs at {wrong}")
        for name, value in fisher.items():
            if value.shape != self._params[name].shape or not bool(((value >= 0.0) & value.isfinite()).all()):
                raise ValueError(f"EWC.consolidate: {name} needs finite values >= 0 of the parameter's shape")
        anchor = {name: param.detach().clone() for name, param in self._params.items()}
        self.tasks.append(({name: value.detach().clone() for name, value in fisher.items()}, anchor))

    def penalty(self) -> Tensor:
        """λ/2 Σ_tasks Σ_i F_i (w_i - w*_i)², 0-dim, differentiable; 0 before the first task ended."""
        total = next(iter(self._params.values())).new_zeros(())
        for fisher, anchor in self.tasks:
            for name, param in self._params.items():
                total = total + (fisher[name] * (param - anchor[name]).square()).sum()
        return 0.5 * self.strength * total
