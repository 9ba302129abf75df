"""Differential entropy of a flow's samples, from the flow itself: what its Euler steps do to volumes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["flow_entropy"]


def flow_entropy(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int = 20) -> float:
    """Entropy in nats of the samples that even Euler steps of a flow make from standard normal noise at t = 1.

    ``D / 2 log(2 π e) + mean Σ log |det(I - dt J)|`` over the steps, J the Jacobian of the velocity: exact, but for the
    mean over ``noise``, where each step is one to one. Costs D backward passes and a determinant a step and sample, so
    it is for few dimensions.

    Args:
        velocity: ``velocity(x [B, D], t [B]) -> [B, D]``, each row by itself (no normalisation over the batch).
        noise: ``[B, D]``, standard normal; more rows, a better mean.

    Raises:
        ValueError: another shape, fewer than one step, a step that folds space (a determinant that is not above 0).
    """
    if noise.ndim != 2 or not noise.numel():
        raise ValueError(f"noise is [B, D]; its shape is {list(noise.shape)}")
    if steps < 1:
        raise ValueError(f"steps is at least 1; it is {steps}")
    count, dimensions = noise.shape
    x, dt = noise.detach(), 1 / steps
    identity = torch.eye(dimensions, dtype=x.dtype, device=x.device)
    total = torch.zeros(count, dtype=x.dtype, device=x.device)
    for i in range(steps):
        t = torch.full((count,), 1 - i / steps, dtype=x.dtype, device=x.device)
        with torch.enable_grad():
            leaf = x.requires_grad_()
            v = velocity(leaf, t)
            rows = [
                torch.autograd.grad(v[:, j].sum(), leaf, retain_graph=j + 1 < dimensions)[0] for j in range(dimensions)
            ]
        sign, log_det = torch.linalg.slogdet(identity - dt * torch.stack(rows, 1))
        if not bool((sign > 0).all()):
            raise ValueError(
                f"the step at t = {1 - i / steps:g} folds space at {int((sign <= 0).sum())} of {count} samples: take "
                f"more steps than {steps}"
            )
        total = total + log_det
        x = (leaf - dt * v).detach()
    return 0.5 * dimensions * math.log(2 * math.pi * math.e) + float(total.double().mean())
