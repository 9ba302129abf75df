"""Differential entropy of a flow's samples, from the flow itself: what its Euler steps do to volumes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entrokit.groups import widest

from .checks import check_finite, check_tensors, check_whole
from .velocities import Velocity, velocity_at

__all__ = ["flow_entropy"]


def flow_entropy(velocity: Velocity, noise: Tensor, steps: int = 20) -> float:
    """Entropy in nats of the samples that even Euler steps of a flow make from standard normal noise at t = 1.

    ``D / 2 log(2 π e) + mean Σ log |det(I - dt J)|`` over the steps, J the Jacobian of the velocity: exact, but for the
    mean over ``noise``, where each step is one to one. Costs D backward passes and a determinant a step and sample, so
    it is for few dimensions.

    Args:
        velocity: ``velocity(x [B, D], t [B]) -> [B, D]``, each row by itself (no normalisation over the batch),
            differentiable; whether the caller has gradients off does not matter.
        noise: ``[B, D]``, standard normal, floating point; more rows, a better mean.

    Raises:
        TypeError: noise, or a velocity, that is no tensor; steps that are no int.
        ValueError: another shape, NaN or infinity, fewer than one step, a velocity that changes with x and has no
            gradient, a step that folds space (a determinant that is not above 0).
    """
    check_tensors(noise=noise)
    check_whole(steps=steps)
    if noise.ndim != 2 or not noise.numel() or not noise.is_floating_point():
        raise ValueError(f"noise is [B, D], floating point; it is {list(noise.shape)} of {noise.dtype}")
    check_finite("noise", noise)
    if steps < 1:
        raise ValueError(f"steps is at least 1; it is {steps}")
    # Under inference mode autograd records nothing, whatever else is asked of it.
    with torch.inference_mode(False), torch.enable_grad():
        volume = _mean_log_volume(velocity, noise.detach().clone(), steps)
    return 0.5 * noise.shape[1] * math.log(2 * math.pi * math.e) + volume


def _mean_log_volume(velocity: Velocity, x: Tensor, steps: int) -> float:
    (count, dimensions), dt, wide = x.shape, 1 / steps, widest(x)
    identity = torch.eye(dimensions, dtype=wide, device=x.device)
    total = torch.zeros(count, dtype=wide, device=x.device)
    for i in range(steps):
        t = torch.full((count,), 1 - i / steps, dtype=x.dtype, device=x.device)
        leaf, name = x.requires_grad_(), f"the velocity at t = {1 - i / steps:g}"
        v = velocity_at(velocity, leaf, t, name)
        jacobian = torch.stack([_gradient(v[:, j].sum(), leaf) for j in range(dimensions)], 1)
        if not bool(jacobian.any()) and not torch.equal(v, velocity_at(velocity, leaf + 1e-2, t, name)):
            raise ValueError(
                f"{name} changes with x and has no gradient: a torch.no_grad, an inference mode or a detach lies in it"
            )
        sign, log_det = torch.linalg.slogdet(identity - dt * jacobian.to(wide))
        if not bool((sign > 0).all()):
            raise ValueError(
                f"the step at t = {1 - i / steps:g} folds space at {int((sign <= 0).sum())} of {count} samples: take "
                f"more steps than {steps}"
            )
        total = total + log_det
        x = (leaf - dt * v).detach()
    return float(total.mean())


def _gradient(value: Tensor, leaf: Tensor) -> Tensor:
    """Zeros where ``value`` does not depend on ``leaf``."""
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(value, leaf, retain_graph=True, materialize_grads=True)
    return found
