"""Losses and thresholds side by side: the same model, rows and steps, and what each scores on rows held out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from entrokit.losses.anyloss import (
    AnyLoss,
    accuracy,
    balanced_accuracy,
    f_beta,
    g_mean,
    hard_confusion,
    tune_threshold,
)

from ._anyloss_tasks import Task

SCORES = {"accuracy": accuracy, "f1": f_beta, "gmean": g_mean, "balanced_accuracy": balanced_accuracy}
ARMS = ("BCE", "weighted BCE", "focal", "BCE, tuned", "AnyLoss", "AnyLoss, tuned")
FOLDS, INNER, STEPS = 5, 3, 1000
# The paper's rates of its perceptron.
RATE, ANYLOSS_RATE = 0.1, 0.005
Found = dict[str, dict[str, float]]


def held_out(logits: Tensor, y: Tensor, metric: str, threshold: float | Tensor = 0.0) -> float:
    """A metric of predictions by a threshold on logits ``[n]``."""
    return float(SCORES[metric](*hard_confusion(logits, y, threshold)))


def linear_arms(task: Task, seed: int) -> Found:
    """By metric and arm: means over five test folds of linear models from zeros, 1000 full gradient steps."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    each = [_linear_fold(task, train, test, seed) for train, test in folds.split(task.X, task.y)]
    return {m: {arm: float(np.mean([one[m][arm] for one in each])) for arm in ARMS} for m in SCORES}


def _linear_fold(task: Task, train: NDArray[np.int64], test: NDArray[np.int64], seed: int) -> Found:
    X, rows = _standardised(task.X[train], task.X[test])
    y, labels = torch.from_numpy(task.y[train]), torch.from_numpy(task.y[test])
    parts = inner_parts(task.y[train], seed)
    # A column of weights each: all rows, and all but one inner fold; then all rows with classes of equal weight.
    kept = torch.ones(len(y), 1 + INNER, dtype=torch.float64)
    for k, part in enumerate(parts, 1):
        kept[part, k] = 0.0
    equal = torch.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum())[:, None]
    plain = descend(X, torch.cat([kept / kept.sum(0), equal], 1), _cross_entropy(y), RATE)
    focal = descend(X, kept[:, :1] / len(y), _focal(y), RATE)
    found: Found = {}
    for metric in SCORES:
        own = descend(X, kept, _any_loss(metric, y), ANYLOSS_RATE)
        at = {
            "BCE": (plain[:, 0], 0.0),
            "weighted BCE": (plain[:, -1], 0.0),
            "focal": (focal[:, 0], 0.0),
            "BCE, tuned": (plain[:, 0], _tuned(X @ plain, y, parts, metric)),
            "AnyLoss": (own[:, 0], 0.0),
            "AnyLoss, tuned": (own[:, 0], _tuned(X @ own, y, parts, metric)),
        }
        found[metric] = {arm: held_out(rows @ w, labels, metric, cut) for arm, (w, cut) in at.items()}
    return found


def inner_parts(y: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    """Rows of each inner fold."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(INNER, shuffle=True, random_state=seed)
    return [out for _, out in folds.split(np.zeros((len(y), 1)), y)]


def descend(
    X: Tensor, weights: Tensor, losses: Callable[[Tensor, Tensor], Tensor], rate: float, steps: int | None = None
) -> Tensor:
    """Parameters ``[F, K]`` of K linear models on the same rows, each trained by its own weights ``[n, K]``."""
    parameters = torch.zeros(X.shape[1], weights.shape[1], dtype=X.dtype, requires_grad=True)
    optimizer = torch.optim.SGD([parameters], lr=rate)
    for _ in range(STEPS if steps is None else steps):
        optimizer.zero_grad()
        # Each loss depends on its own column, so the sum gives each its own gradient.
        torch.autograd.backward(losses(X @ parameters, weights).sum())
        optimizer.step()
    return parameters.detach()


def _cross_entropy(y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    targets = y.double()[:, None]

    def losses(logits: Tensor, weights: Tensor) -> Tensor:
        each = binary_cross_entropy_with_logits(logits, targets.expand_as(logits), reduction="none")
        return (weights * each).sum(0)

    return losses


def _focal(y: Tensor, gamma: float = 2.0) -> Callable[[Tensor, Tensor], Tensor]:
    sign = 2.0 * y.double()[:, None] - 1.0

    def losses(logits: Tensor, weights: Tensor) -> Tensor:
        right = sign * logits
        return -(weights * torch.sigmoid(-right) ** gamma * logsigmoid(right)).sum(0)

    return losses


def _any_loss(metric: str, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    loss = AnyLoss(metric, reduction="none")

    def losses(logits: Tensor, weights: Tensor) -> Tensor:
        found: Tensor = loss(logits, y[:, None].expand_as(logits), weights)
        return found

    return losses


def _tuned(logits: Tensor, y: Tensor, parts: list[NDArray[np.int64]], metric: str) -> Tensor:
    """The best threshold for rows by the models that did not see them: columns 1 and on, a part each."""
    unseen = torch.empty(len(y), dtype=torch.float64)
    for k, part in enumerate(parts, 1):
        unseen[part] = logits[part, k]
    return tune_threshold(unseen, y, metric).threshold


def _standardised(train: NDArray[np.float64], test: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Both by the means and deviations of the first, with a column of ones."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    both = [torch.from_numpy(scaler.transform(X)) for X in (train, test)]
    first, second = (torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], 1) for X in both)
    return first, second
