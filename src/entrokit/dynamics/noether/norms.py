"""Squared norms of weights without a scale, predicted from gradients or from velocities.

Noether's Learning Dynamics (arXiv 2105.02716). With R = |q|² and velocities q̇ = (q_{n+1} − q_n)/η, SGD obeys exactly

    R_{n+1} = (1+β−2ηk) R_n − β R_{n−1} + |q_{n+1} − q_n|² + β |q_n − q_{n−1}|²,

since the gradient is orthogonal to q. The paper's equation m R̈ + μ Ṙ = −2kR + 2m|q̇|² is its limit of small η. Both
hold for the difference D = |q_1|² − |q_2|² of two layers that rescale each other, with |q̇_1|² − |q̇_2|² for |q̇|².
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .kinetics import check_sgd, friction, gain, mass


def predict_norm_sq(
    r0_sq: Tensor, grad_unit_sq: Tensor, lr: float, momentum: float, weight_decay: float, *, noise: bool = False
) -> Tensor:
    """r² along a run from |ĝ|² alone, over-damped (the paper's closed form): ``[T + 1, ...]`` float64.

    r⁴ is an exponential average: r⁴ ← e^{−4ηk/(1−β)} r⁴ + what |ĝ|² adds during the step (`gain`).

    Args:
        r0_sq: ``[...]``, at the start. grad_unit_sq: ``[T, ...]``, |∇f|² at unit length, which is r²|∇f(q)|².
        noise: gradients are independent draws of mean zero. Minibatches are a mixture of both; velocities are safer
            (`predict_norm_sq_from_velocity`).

    Raises:
        ValueError: see `check_sgd`, or shapes that do not fit, or negative squares.
    """
    check_sgd(lr, momentum, weight_decay)
    r0_sq, grad_unit_sq = _logged("grad_unit_sq", r0_sq, grad_unit_sq)
    if bool((r0_sq < 0).any() or (grad_unit_sq < 0).any()):
        raise ValueError("r0_sq and grad_unit_sq hold squares and cannot be negative")
    rate = torch.tensor(4 * weight_decay / friction(momentum), dtype=torch.float64)
    kept = torch.exp(-rate * lr)
    spread = -torch.expm1(-rate * lr) / rate if rate > 0 else torch.tensor(lr, dtype=torch.float64)
    fourth = [r0_sq.square()]
    for added in gain(lr, momentum, noise=noise) * spread * grad_unit_sq:
        fourth.append(kept * fourth[-1] + added)
    return torch.stack(fourth).sqrt()


def predict_norm_sq_from_velocity(
    r0_sq: Tensor,
    rate0: Tensor | None,
    vel_sq: Tensor,
    lr: float | Tensor,
    momentum: float,
    weight_decay: float,
    *,
    form: Literal["discrete", "lagrangian"] = "discrete",
) -> Tensor:
    """r² along a run from measured |q̇|²: ``[T + 1, ...]`` float64.

    Args:
        r0_sq: ``[...]``, at the start. rate0: ``[...]``, (R_1 − R_0)/η of the first step; None where SGD starts
            without a momentum buffer.
        vel_sq: ``[T, ...]``, |q_{n+1} − q_n|²/η².
        lr: of every step, or one for each ``[T]`` (``"discrete"`` alone).
        form: ``"discrete"``, exact at every learning rate; ``"lagrangian"``, the paper's equation in central
            differences with the mean of both neighbouring |q̇|².

    Raises:
        ValueError: see `check_sgd`; shapes that do not fit; a schedule, or no rate0, for ``"lagrangian"``.
    """
    check_sgd(lr, momentum, weight_decay)
    r0_sq, vel_sq = _logged("vel_sq", r0_sq, vel_sq)
    rates = torch.as_tensor(lr, dtype=torch.float64, device=vel_sq.device)
    if rates.dim() and rates.shape != vel_sq.shape[:1]:
        raise ValueError(f"lr has shape {list(rates.shape)} for {len(vel_sq)} steps; give one number, or one a step")
    if rate0 is not None and rate0.shape != r0_sq.shape:
        raise ValueError(f"rate0 has shape {list(rate0.shape)} for a start of {list(r0_sq.shape)}")
    if form == "discrete":
        return _discrete(r0_sq, rate0, vel_sq, rates.expand(len(vel_sq)), momentum, weight_decay)
    if form != "lagrangian":
        raise ValueError(f"form must be 'discrete' or 'lagrangian', got {form!r}")
    if rates.dim() or rate0 is None:
        raise ValueError("form='lagrangian' needs one lr for all steps, and rate0")
    return _lagrangian(r0_sq, r0_sq + float(rates) * rate0, vel_sq, float(rates), momentum, weight_decay)


def lagrangian_residual(norm_sq: Tensor, vel_sq: Tensor, lr: float, momentum: float, weight_decay: float) -> Tensor:
    """What the paper's equation leaves of a logged run: (m R̈ + μ Ṙ)/2 + kR − m|q̇|², ``[T - 1, ...]`` float64.

    Central differences at steps 1 to T − 1; it vanishes with η. Where it does not, steps are too large for the
    equation, or the loss sees the scale.

    Args:
        norm_sq: R ``[T + 1, ...]``. vel_sq: ``[T, ...]``, |q_{n+1} − q_n|²/η².

    Raises:
        ValueError: see `check_sgd`, or fewer than two steps, or shapes that do not fit.
    """
    check_sgd(lr, momentum, weight_decay)
    if vel_sq.dim() < 1 or len(vel_sq) < 2 or norm_sq.shape != (len(vel_sq) + 1, *vel_sq.shape[1:]):
        raise ValueError(
            f"needs norm_sq [T + 1, ...] and vel_sq [T, ...] with T >= 2, got {list(norm_sq.shape)} and "
            f"{list(vel_sq.shape)}"
        )
    R, V = norm_sq.double(), vel_sq.double()
    m, mu = mass(lr, momentum), friction(momentum)
    second = (R[2:] - 2 * R[1:-1] + R[:-2]) / lr**2
    first = (R[2:] - R[:-2]) / (2 * lr)
    return (m * second + mu * first) / 2 + weight_decay * R[1:-1] - m * (V[1:] + V[:-1]) / 2


def _discrete(
    R: Tensor, rate0: Tensor | None, vel_sq: Tensor, lr: Tensor, momentum: float, weight_decay: float
) -> Tensor:
    # As a law of the charge C = ⟨q̇, q⟩: C_n = β (C_{n−1} + η |q̇_{n−1}|²) − k R_n, which a schedule leaves as it is.
    found, carried = [R], torch.zeros_like(R)
    for n, (V, eta) in enumerate(zip(vel_sq, lr, strict=True)):
        charge = momentum * carried - weight_decay * R
        if n == 0 and rate0 is not None:
            charge = (rate0 - eta * V) / 2
        R = R + 2 * eta * charge + eta**2 * V
        carried = charge + eta * V
        found.append(R)
    return torch.stack(found)


def _lagrangian(before: Tensor, R: Tensor, vel_sq: Tensor, lr: float, momentum: float, weight_decay: float) -> Tensor:
    m, mu = mass(lr, momentum), friction(momentum)
    inertia, drag = m / lr**2, mu / (2 * lr)
    found = [before, R]
    for kinetic in m * (vel_sq[1:] + vel_sq[:-1]):
        push = kinetic - 2 * weight_decay * R + inertia * (2 * R - before) + drag * before
        before, R = R, push / (inertia + drag)
        found.append(R)
    return torch.stack(found)


def _logged(name: str, start: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    if steps.dim() < 1 or not len(steps) or steps.shape[1:] != start.shape:
        raise ValueError(f"{name} must be [T, ...] of a start [...], got {list(steps.shape)} and {list(start.shape)}")
    return start.double(), steps.double()
