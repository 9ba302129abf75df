"""The binary perceptron in a teacher-student set-up: what the mean-field theory is about, as a simulation.

Statistical mechanics of continual learning (arXiv 2212.02846). Inputs x ∈ {±1}^N, labels y = ±1 of a teacher of binary
weights; of a student with fields θ the pre-activation is Gaussian, and with H(u) = ½ erfc(u/√2)

    ln P(y|x) = ln H( -y m·x/√Σσ² ),    objective = -Σ_μ ln H_μ + γ KL(q_θ‖q_θ_old)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .binary_weights import check_beta, weight_kl, weight_mean, weight_variance
from .probit import log_tail


@dataclass(frozen=True, eq=False)
class PerceptronTask:
    """Patterns ``x`` ``[P, N]`` and labels ``y`` ``[P]``, all ±1, of a teacher ``[N]``."""

    teacher: Tensor
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class PerceptronTraining:
    """How `fit_perceptron` trains: Adam (0.9, 0.999) with decoupled decay.

    Attributes:
        lr, weight_decay: of the optimiser. epochs: at least 1. batch: of patterns, all of them by default.
        beta: slope of tanh. gamma: of the KL to the fields that an earlier task left; 0 forgets them.
    """

    lr: float = 0.002
    weight_decay: float = 0.1
    epochs: int = 800
    batch: int | None = 128
    beta: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if self.epochs < 1 or (self.batch is not None and self.batch < 1):
            raise ValueError(f"PerceptronTraining: epochs and batch are at least 1, got {self.epochs} and {self.batch}")
        if not 0.0 <= self.gamma < math.inf:
            raise ValueError(f"PerceptronTraining: gamma must be at least 0 and finite, got {self.gamma}")


def binary_perceptron_loss(theta: Tensor, x: Tensor, y: Tensor, beta: float) -> Tensor:
    """-Σ ln H in nats, 0-dim, at least 0; differentiable.

    Args:
        theta: fields ``[N]``. x: ``[P, N]``. y: ``[P]``, ±1.

    Raises:
        ValueError: shapes that do not fit, labels other than ±1, or weights all of which are certain: without variance
            there is no likelihood.
    """
    if theta.dim() != 1 or x.dim() != 2 or x.shape[1] != len(theta) or y.shape != x.shape[:1]:
        raise ValueError(
            f"binary_perceptron_loss: expected theta [N], x [P, N], y [P]; got {list(theta.shape)}, {list(x.shape)}, "
            f"{list(y.shape)}"
        )
    if not bool((y.abs() == 1).all()):
        raise ValueError("binary_perceptron_loss: labels must be 1 or -1; two classes 0 and 1 are 2 * y - 1")
    variance = weight_variance(theta, check_beta(beta)).sum()
    if not variance.detach() > 0:
        raise ValueError("binary_perceptron_loss: no weight has a variance; fields are too large, or none or NaN")
    return -log_tail(-y * (x @ weight_mean(theta, beta)) / variance.sqrt()).sum()


def related_teacher(teacher: Tensor, r0: float, generator: torch.Generator | None = None) -> Tensor:
    """A teacher ``[N]`` of ±1, each weight equal to that of ``teacher`` with probability (1 + r0)/2.

    Raises:
        ValueError: r0 beyond -1 to 1.
    """
    if not -1.0 <= r0 <= 1.0:
        raise ValueError(f"related_teacher: r0 is an overlap, -1 to 1; got {r0}")
    agrees = torch.rand(teacher.shape, generator=generator) < 0.5 * (1.0 + r0)
    return torch.where(agrees, teacher, -teacher)


def perceptron_task(teacher: Tensor, alpha: float, generator: torch.Generator | None = None) -> PerceptronTask:
    """round(alpha N) random patterns with the labels of a teacher ``[N]`` of ±1.

    Raises:
        ValueError: no pattern.
    """
    count = round(alpha * len(teacher)) if math.isfinite(alpha) else 0
    if count < 1:
        raise ValueError(f"perceptron_task: alpha={alpha} of {len(teacher)} weights is no pattern")
    x = 2.0 * torch.randint(2, (count, len(teacher)), generator=generator).to(teacher.dtype) - 1.0
    return PerceptronTask(teacher, x, _sign(x @ teacher))


def fit_perceptron(
    task: PerceptronTask,
    training: PerceptronTraining,
    *,
    theta: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fields ``[N]`` after a task.

    Args:
        theta: fields ``[N]`` after the task before, where the student starts and to which the KL holds it; standard
            normal ones, and no KL, by default. generator: of those and of the order of patterns.

    Raises:
        ValueError: see `binary_perceptron_loss`.
    """
    P, N = task.x.shape
    start = torch.randn(N, generator=generator, dtype=task.x.dtype) if theta is None else theta.detach()
    gamma = 0.0 if theta is None else training.gamma
    batch = P if training.batch is None else min(training.batch, P)
    student = start.clone().requires_grad_()
    # torch multiplies its decay by the learning rate, as the paper's own optimiser does.
    optimizer = torch.optim.AdamW([student], lr=training.lr, weight_decay=training.weight_decay)
    for _ in range(training.epochs):
        order = torch.randperm(P, generator=generator) if batch < P else None
        for first in range(0, P, batch):
            rows = slice(first, first + batch) if order is None else order[first : first + batch]
            x, y = task.x[rows], task.y[rows]
            loss = binary_perceptron_loss(student, x, y, training.beta)
            if gamma:
                loss = loss + gamma * len(y) / P * weight_kl(student, start, training.beta)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return student.detach()


def generalization_error(theta: Tensor, teacher: Tensor) -> float:
    """Share of all inputs on which sgn θ, +1 where θ is 0, and a teacher ``[N]`` disagree, as N grows: 0 to 1.

    Raises:
        ValueError: shapes that differ, or NaN in θ, which has no sign.
    """
    if theta.shape != teacher.shape or not theta.numel():
        raise ValueError(f"generalization_error: fields {list(theta.shape)} for a teacher {list(teacher.shape)}")
    if bad := int(theta.isnan().sum()):
        raise ValueError(f"generalization_error: {bad} of {theta.numel()} fields are NaN and have no sign")
    overlap = float((_sign(theta) * teacher).double().mean())
    return math.acos(min(max(overlap, -1.0), 1.0)) / math.pi


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x.dtype)
