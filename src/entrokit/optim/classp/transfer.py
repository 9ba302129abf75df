"""What a learner of a sequence of tasks kept, lost and passed on: the field's measures of an accuracy matrix.

R[i, j], ``[T, T]``, is the accuracy on task j after learning tasks 0 to i; b[j] that before learning anything.
Average accuracy, backward and forward transfer: Gradient Episodic Memory (arXiv 1706.08840, equations 2 to 4).
Forgetting: Riemannian Walk (arXiv 1801.10112, section 4.1). All are fractions, not percent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Task = TypeVar("Task")
Matrix = Tensor | Sequence[Sequence[float]]


def accuracy_matrix(
    tasks: Sequence[Task], train: Callable[[Task], object], evaluate: Callable[[Task], float]
) -> tuple[Tensor, Tensor]:
    """Learn the tasks in order, and evaluate every one of them before the first and after each.

    Args:
        tasks: T of them, whatever ``train`` and ``evaluate`` take. train: learns one. evaluate: accuracy, 0 to 1.

    Returns:
        R ``[T, T]`` and b ``[T]``, float64.

    Raises:
        ValueError: no task.
    """
    if not tasks:
        raise ValueError("accuracy_matrix: needs a task at least")
    before = torch.tensor([evaluate(task) for task in tasks], dtype=torch.float64)
    rows = []
    for task in tasks:
        train(task)
        rows.append([evaluate(other) for other in tasks])
    return torch.tensor(rows, dtype=torch.float64), before


def average_accuracy(matrix: Matrix) -> float:
    """Mean accuracy over all tasks at the end: mean_j R[T-1, j], 0 to 1.

    Raises:
        ValueError: the matrix is not square, or holds what is no accuracy.
    """
    return float(_checked(matrix, "average_accuracy", least=1)[-1].mean())


def forgetting(matrix: Matrix) -> float:
    """Mean over tasks but the last of max_{i < T-1} R[i, j] - R[T-1, j]; -1 to 1, below 0 where tasks gained.

    Raises:
        ValueError: as `average_accuracy`, or fewer than two tasks.
    """
    R = _checked(matrix, "forgetting")
    return float((R[:-1, :-1].amax(0) - R[-1, :-1]).mean())


def backward_transfer(matrix: Matrix) -> float:
    """Mean over tasks but the last of R[T-1, j] - R[j, j]; -1 to 1, below 0 where later tasks did harm.

    Raises:
        ValueError: as `forgetting`.
    """
    R = _checked(matrix, "backward_transfer")
    return float((R[-1] - R.diagonal())[:-1].mean())


def forward_transfer(matrix: Matrix, before: Tensor | Sequence[float]) -> float:
    """Mean over tasks but the first of R[j-1, j] - b[j]; -1 to 1, above 0 where earlier tasks helped unseen ones.

    Args:
        before: b ``[T]``, of the untrained model.

    Raises:
        ValueError: as `forgetting`, or b of another length.
    """
    R = _checked(matrix, "forward_transfer")
    b = torch.as_tensor(before, dtype=torch.float64)
    if b.shape != R.shape[:1]:
        raise ValueError(f"forward_transfer: {len(R)} tasks need as many accuracies before, got {list(b.shape)}")
    _check_range(b, "forward_transfer: before")
    return float((R.diagonal(1) - b[1:]).mean())


def _checked(matrix: Matrix, name: str, least: int = 2) -> Tensor:
    R = torch.as_tensor(matrix, dtype=torch.float64)
    if R.dim() != 2 or R.shape[0] != R.shape[1] or len(R) < least:
        raise ValueError(f"{name}: needs accuracies [T, T] of T >= {least} tasks, got {list(R.shape)}")
    _check_range(R, name)
    return R


def _check_range(accuracies: Tensor, name: str) -> None:
    if not bool(((accuracies >= 0.0) & (accuracies <= 1.0)).all()):
        raise ValueError(f"{name}: accuracies are fractions, 0 to 1, and none may be missing; got {accuracies}")
