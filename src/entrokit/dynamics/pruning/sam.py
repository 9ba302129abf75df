"""A step of sharpness-aware minimisation, whose radius the paper turns as a knob like temperature.

Foret et al. (arXiv 2010.01412), as A Three-regime Model of Network Pruning (arXiv 2305.18383) uses it: the gradient at
w + ρ g/(|g|₂ + 1e-12), |g| over all parameters, is applied at w.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def sam_step(optimizer: torch.optim.Optimizer, closure: Callable[[], Tensor], rho: float = 0.05) -> Tensor:
    """One step of any optimizer with the gradient taken ρ uphill; gives the loss where the step began.

    A gradient of 0 leaves the plain step. Weights that a mask of `torch.nn.utils.prune` holds at 0 have no gradient,
    and are moved neither way.

    Args:
        closure: clears gradients, calls ``backward`` and gives the loss; called twice, on the same batch. Running
            statistics of a batch norm see both calls.
        rho: of the ball, at least 0; 0 is the plain step.

    Raises:
        ValueError: rho, or a gradient that is not finite; parameters are then as they were, and no step is taken.
    """
    if not (rho >= 0 and math.isfinite(rho)):
        raise ValueError(f"sam_step: rho is finite and at least 0, got {rho}")
    loss = closure()
    moved = _with_gradient(optimizer)
    norm = _norm(moved)
    kept = [p.detach().clone() for p in moved]
    try:
        with torch.no_grad():
            for p in moved:
                assert p.grad is not None
                p.add_(p.grad, alpha=rho / (norm + 1e-12))
        closure()
        _norm(_with_gradient(optimizer))
    finally:
        with torch.no_grad():
            for p, own in zip(moved, kept, strict=True):
                p.copy_(own)
    optimizer.step()
    return loss


def _with_gradient(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _norm(parameters: list[Tensor]) -> float:
    """Of all gradients together."""
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters if p.grad is not None))
    if not math.isfinite(norm):
        raise ValueError("sam_step: a gradient holds NaN or inf; no step was taken")
    return norm
