"""How an optimiser is about to move its parameters, taken apart before it does.

Adam, AdamW and SGD move a parameter by ``Δθ = -P g + memory + decay``, with ``g`` the gradient of this step alone:
``P`` is what the step size and the preconditioner make of it, ``memory`` comes from the momentum of earlier steps,
``decay`` from weight decay. The parts add up to the step that ``optimizer.step()`` takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Move:
    """The next move of one parameter, ``-preconditioner * parameter.grad + memory + decay``, all of its shape.

    ``memory`` and ``decay`` are None where there is none.
    """

    parameter: Tensor
    preconditioner: Tensor
    memory: Tensor | None
    decay: Tensor | None

    def along(self, direction: Tensor) -> dict[str, Tensor]:
        """Scalar products of ``direction`` with the parts: ``gradient``, ``memory``, ``decay``; float32 or better."""
        gradient = self.parameter.grad
        assert gradient is not None
        exact = torch.promote_types(direction.dtype, torch.float32)

        def product(part: Tensor | None) -> Tensor:
            return direction.new_zeros((), dtype=exact) if part is None else (part * direction).to(exact).sum()

        return {
            "gradient": -product(self.preconditioner * gradient),
            "memory": product(self.memory),
            "decay": product(self.decay),
        }


def supports(optimizer: Any) -> bool:
    """Whether `next_moves` knows how this optimiser moves."""
    return _unwrapped(optimizer) is not None


@torch.no_grad()
def next_moves(optimizer: Any) -> Iterator[Move]:
    """The moves that the optimiser's next step will make with the gradients that are there now.

    Nothing is changed. Parameters without a gradient do not move and are left out.

    Raises:
        TypeError: an optimiser other than `torch.optim.Adam`, `AdamW` or `SGD`, or one with ``amsgrad``.
    """
    inner = _unwrapped(optimizer)
    if inner is None:
        name = type(_innermost(optimizer)).__name__
        raise TypeError(
            f"next_moves: knows torch.optim.Adam, AdamW and SGD (without amsgrad), got {name}; "
            "with TRL choose optim='adamw_torch' or 'sgd'"
        )
    of = _sgd_move if isinstance(inner, torch.optim.SGD) else _adam_move
    for group in inner.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield of(parameter, group, inner.state.get(parameter, {}))


def _innermost(optimizer: Any) -> Any:
    while hasattr(optimizer, "optimizer"):  # accelerate's wrapper
        optimizer = optimizer.optimizer
    return optimizer


def _unwrapped(wrapped: Any) -> torch.optim.Optimizer | None:
    optimizer = _innermost(wrapped)
    known = isinstance(optimizer, (torch.optim.Adam, torch.optim.SGD))
    if not known or any(g.get("amsgrad") or g.get("maximize") for g in optimizer.param_groups):
        return None
    return optimizer  # type: ignore[no-any-return]


def _adam_move(parameter: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Move:
    gradient, rate, decay = parameter.grad, float(group["lr"]), group["weight_decay"]
    assert gradient is not None
    beta1, beta2 = group["betas"]
    # AdamW decays the parameter itself; Adam adds the decay to the gradient, where it enters momentum and variance.
    decoupled = group.get("decoupled_weight_decay", False)
    full = gradient if decoupled or not decay else gradient + decay * parameter
    step = float(state["step"]) + 1 if state else 1.0
    square = (1 - beta2) * full.square()
    if state:
        square += beta2 * state["exp_avg_sq"]
    scale = (square / (1 - beta2**step)).sqrt_().add_(group["eps"]).reciprocal_().mul_(rate / (1 - beta1**step))
    fresh = (1 - beta1) * scale
    memory = -beta1 * scale * state["exp_avg"] if state else None
    shrink = None if not decay else -rate * decay * parameter if decoupled else -fresh * decay * parameter
    return Move(parameter, fresh, memory, shrink)


def _sgd_move(parameter: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Move:
    rate, momentum, decay = float(group["lr"]), group["momentum"], group["weight_decay"]
    buffer = state.get("momentum_buffer")
    # The first buffer is the gradient itself, without dampening.
    share = 1.0 if not momentum or buffer is None else 1.0 - group["dampening"]
    factor = rate * (1.0 + momentum * share if group["nesterov"] else share)
    memory = None
    if momentum and buffer is not None:
        memory = -rate * momentum * (momentum if group["nesterov"] else 1.0) * buffer
    shrink = -factor * decay * parameter if decay else None
    return Move(parameter, torch.full_like(parameter, factor), memory, shrink)
