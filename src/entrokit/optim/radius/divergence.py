"""What a step of the logits costs in KL, to second order, and how wrong that can be.

With ``K(τ) = log Σ exp(z + τ a)`` and ``p_τ = softmax(z + τ a)`` (arXiv 2603.13552):

    KL(p_0 ‖ p_τ) = K(τ) - K(0) - τ K'(0)        KL(p_τ ‖ p_0) = τ K'(τ) - K(τ) + K(0)

Both are ``τ² V / 2`` to second order, ``V`` the variance of ``a`` under ``p_0``. The third derivative of K is a third
central moment of a variable of range Δ, at most ``Δ³ / (6 √3)``. Integrated, the first differs by at most
``|τ|³ Δ³ / (36 √3)`` and the second by twice that; the paper has the two exchanged.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .radii import slope_spread


class KLStep(NamedTuple):
    """Nats, each of shape ``[...]``.

    ``quadratic``: ``τ² V / 2``. ``bound_forward``: the most by which KL(p_0 ‖ p_τ) differs from it; ``bound_reverse``:
    the same for KL(p_τ ‖ p_0).
    """

    quadratic: Tensor
    bound_forward: Tensor
    bound_reverse: Tensor


def kl_step_bounds(z: Tensor, a: Tensor, tau: float | Tensor = 1.0) -> KLStep:
    """The quadratic model of a step's KL divergence and its largest error, in nats.

    Args:
        z, a: logits and their slopes, ``[..., K]``; classes with ``z = -inf`` are left out; 0 where all of them are.
        tau: length of the step, a number or ``[...]``.

    Raises:
        ValueError: shapes that differ.
    """
    spread = slope_spread(a, z)
    gone = z == -torch.inf
    # Where all are left out there is no distribution, and nothing that could move.
    p = torch.softmax(z.masked_fill(gone.all(-1, keepdim=True), 0.0), -1)
    a = torch.where(gone, 0.0, a)
    mean = (p * a).sum(-1, keepdim=True)
    step = torch.as_tensor(tau, dtype=a.dtype, device=a.device)
    quadratic = step.square() * (p * (a - mean).square()).sum(-1) / 2.0
    bound = (step.abs() * spread) ** 3 / (36.0 * math.sqrt(3.0))
    return KLStep(quadratic, bound, 2.0 * bound)
