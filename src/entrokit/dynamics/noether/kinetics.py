"""Constants of SGD as a damped particle, and what they say of weights whose loss knows no scale.

Noether's Learning Dynamics (arXiv 2105.02716). The update v ← βv + g + kq, q ← q − ηv, in time η · step, follows

    m q̈ + μ q̇ + ∇f(q) + k q = 0,    m = η(1+β)/2,    μ = 1 − β

to first order in η. Where f does not see the length r of q, its gradient at unit length ĝ drives r⁴ as RMSProp's G.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class EquivalentRMSProp(NamedTuple):
    """RMSProp on the unit sphere: G ← decay · G + (1 − decay) |ĝ|², q̂ ← (q̂ − lr ĝ / √G) / |·|."""

    lr: float
    decay: float


def check_sgd(lr: float | Tensor, momentum: float, weight_decay: float) -> None:
    """Refuses numbers that are no SGD.

    Raises:
        ValueError: lr not finite and above 0, momentum outside [0, 1), or weight_decay negative or not finite.
    """
    rates = torch.as_tensor(lr, dtype=torch.float64)
    if not rates.numel() or not bool(((rates > 0) & torch.isfinite(rates)).all()):
        raise ValueError(f"lr must be finite and above 0, got {lr}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be finite and at least 0, got {weight_decay}")


def mass(lr: float, momentum: float = 0.0) -> float:
    """m = η(1+β)/2, in units of the learning rate.

    Raises:
        ValueError: see `check_sgd`.
    """
    check_sgd(lr, momentum, 0.0)
    return lr * (1 + momentum) / 2


def friction(momentum: float = 0.0) -> float:
    """μ = 1 − β, in (0, 1].

    Raises:
        ValueError: momentum outside [0, 1).
    """
    check_sgd(1.0, momentum, 0.0)
    return 1 - momentum


def effective_lr(norm_sq: Tensor, lr: float, momentum: float = 0.0) -> Tensor:
    """Angular learning rate η / ((1−β) r²) of blocks of squared length ``norm_sq`` ``[...]``; infinite at length 0.

    Raises:
        ValueError: see `check_sgd`, or a negative square.
    """
    check_sgd(lr, momentum, 0.0)
    if bool((norm_sq < 0).any()):
        raise ValueError("norm_sq holds squares and cannot be negative")
    return lr / (friction(momentum) * norm_sq)


def gain(lr: float, momentum: float, *, noise: bool = False) -> float:
    """What |ĝ|² adds to r⁴ in a unit of time: 2η(1+β)/(1−β)³, of ``noise`` 2η/(1−β)².

    A gradient that lasts over 1/(1−β) steps is amplified (1+β)/(1−β) times more than one that is drawn anew.
    """
    mu = friction(momentum)
    return 2 * lr / mu**2 if noise else 4 * mass(lr, momentum) / mu**3


def equilibrium_norm_sq(
    grad_unit_sq: Tensor, lr: float, momentum: float, weight_decay: float, *, noise: bool = False
) -> Tensor:
    """r² at which growth and decay balance: r⁴ = η(1+β)|ĝ|²/(2k(1−β)²), of ``noise`` η E|ĝ|²/(2k(1−β)).

    Args:
        grad_unit_sq: ``[...]``, |∇f|² at unit length, which is r²|∇f(q)|²; of ``noise``, its mean.
        noise: gradients are independent draws of mean zero, rather than lasting ones.

    Raises:
        ValueError: see `check_sgd`; weight_decay = 0, without which r⁴ grows for ever; or a negative square.
    """
    check_sgd(lr, momentum, weight_decay)
    if bool((grad_unit_sq < 0).any()):
        raise ValueError("grad_unit_sq holds squares and cannot be negative")
    if weight_decay == 0:
        raise ValueError("without weight decay there is no equilibrium: r⁴ grows for ever")
    return (gain(lr, momentum, noise=noise) * friction(momentum) / (4 * weight_decay) * grad_unit_sq).sqrt()


def equivalent_rmsprop(lr: float, momentum: float, weight_decay: float, *, noise: bool = False) -> EquivalentRMSProp:
    """The RMSProp on the sphere that SGD with momentum and weight decay is, on weights without a scale.

    decay = 1 − 4ηk/(1−β), and lr = √(2ηk/(1+β)), of ``noise`` √(2ηk/(1−β)); there r⁴ is G times what
    `equilibrium_norm_sq` has in front of |ĝ|². Without weight decay the memory never ends (AdaGrad), and lr is 0.

    Raises:
        ValueError: see `check_sgd`; or a decay below 0: then the length does not lag behind the gradient.
    """
    check_sgd(lr, momentum, weight_decay)
    decay = 1 - 4 * lr * weight_decay / friction(momentum)
    if decay < 0:
        raise ValueError(f"4 lr weight_decay / (1 - momentum) = {1 - decay:.3g} must be at most 1 for an equivalent")
    other = friction(momentum) if noise else 1 + momentum
    return EquivalentRMSProp(math.sqrt(2 * lr * weight_decay / other), decay)
