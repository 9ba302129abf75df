"""Weights ±1 by their real fields: means, variances, entropy, and what moving the fields costs.

Statistical mechanics of continual learning (arXiv 2212.02846). A weight w = ±1 of field θ has the law
e^{βθw}/(2 cosh βθ): mean m = tanh βθ, variance σ² = 1 - m², and

    H(q) = Σ [ ln 2cosh βθ - βθ m ],    KL(q_θ‖q_θ₀) = Σ [ β(θ - θ₀) m - ln cosh βθ + ln cosh βθ₀ ]
    ∂KL/∂θ = β² σ² (θ - θ₀)

so that a weight that is certain moves at a price near 0 but hardly moves, since its loss has the factor σ² too.
The state is θ: m is ±1 in float32 from |βθ| = 9 on, and what the weight knew is then gone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def weight_mean(theta: Tensor, beta: float) -> Tensor:
    """m = tanh βθ, in the shape and dtype of ``theta``."""
    return torch.tanh(beta * theta)


def weight_variance(theta: Tensor, beta: float) -> Tensor:
    """σ² = 1/cosh² βθ, in the shape and dtype of ``theta``; not by 1 - m², of which rounding leaves 0 too early."""
    return 4.0 * torch.sigmoid(2.0 * beta * theta) * torch.sigmoid(-2.0 * beta * theta)


def weight_entropy(theta: Tensor, beta: float) -> Tensor:
    """H(q) in nats, 0 to ln 2 a weight, summed; 0-dim, float32 at least.

    Raises:
        ValueError: fields that are no floating point, or beta out of range.
    """
    size = (2.0 * check_beta(beta) * _wide(theta, "theta")).abs()
    return (size * torch.sigmoid(-size) + functional.softplus(-size)).sum()


def weight_kl(theta: Tensor, reference: Tensor, beta: float) -> Tensor:
    """KL(q_θ‖q_θ₀) in nats, at least 0 up to rounding, summed; 0-dim, float32 at least, differentiable in both.

    Args:
        theta, reference: θ and θ₀, of one shape.

    Raises:
        ValueError: shapes that differ, fields that are no floating point, or beta out of range.
    """
    if theta.shape != reference.shape:
        raise ValueError(f"weight_kl: theta has shape {list(theta.shape)}, its reference {list(reference.shape)}")
    check_beta(beta)
    x, x0 = 2.0 * beta * _wide(theta, "theta"), 2.0 * beta * _wide(reference, "reference")
    up = torch.sigmoid(x) * (functional.logsigmoid(x) - functional.logsigmoid(x0))
    down = torch.sigmoid(-x) * (functional.logsigmoid(-x) - functional.logsigmoid(-x0))
    return (up + down).sum()


def check_beta(beta: float) -> float:
    """``beta``, above 0 and finite.

    Raises:
        ValueError: it is not.
    """
    if not 0.0 < beta < math.inf:
        raise ValueError(f"beta is the slope of tanh, above 0 and finite; got {beta}")
    return float(beta)


def _wide(theta: Tensor, name: str) -> Tensor:
    if not theta.is_floating_point():
        raise ValueError(f"{name}: fields are real numbers, got {theta.dtype}")
    return theta.to(torch.promote_types(theta.dtype, torch.float32))
