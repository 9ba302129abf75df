"""The same comparisons with the estimator: networks of one hidden layer, and the small perceptron of the paper.

Needs scikit-learn to be imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from entrokit.losses.anyloss import tune_threshold
from entrokit.losses.anyloss.estimator import AnyLossClassifier, Objective

from ._anyloss_arms import ANYLOSS_RATE, INNER, RATE, STEPS, Found, held_out, mean_over_folds, parts_of
from ._anyloss_tasks import Task

HIDDEN, EPOCHS, NETWORK_RATE = 8, 300, 0.005
PERCEPTRON_FOLDS, NETWORK_FOLDS = 5, 3
NETWORK_METRICS = ("f1", "balanced_accuracy")
PERCEPTRON_METRICS = ("f1", "gmean", "balanced_accuracy")


class CrossEntropyClassifier(AnyLossClassifier):
    """The same model and steps, trained by cross-entropy."""

    def objective(self) -> Objective:
        def loss(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
            each = binary_cross_entropy_with_logits(logits, targets.double(), reduction="none")
            return (weight * each).sum() / weight.sum()

        return loss


def perceptron(task: Task, seed: int) -> Found:
    """By metric: mean over five test folds of models trained by ``BCE`` and by ``AnyLoss`` of that metric."""

    def fold(train: NDArray[np.int64], test: NDArray[np.int64]) -> Found:
        X, y, rows, labels = task.X[train], task.y[train], task.X[test], torch.from_numpy(task.y[test])
        plain = CrossEntropyClassifier(learning_rate=RATE, max_iter=STEPS).fit(X, y)
        found: Found = {}
        for m in PERCEPTRON_METRICS:
            own = AnyLossClassifier(m, learning_rate=ANYLOSS_RATE, max_iter=STEPS).fit(X, y)
            found[m] = {
                "BCE": held_out(_logits(plain, rows), labels, m),
                "AnyLoss": held_out(_logits(own, rows), labels, m),
            }
        return found

    return _over_folds(task, seed, PERCEPTRON_FOLDS, fold)


def networks(task: Task, seed: int) -> Found:
    """By metric and arm: means over three test folds; every arm by Adam, all rows in a batch."""
    options: dict[str, Any] = {
        "hidden": HIDDEN, "max_iter": EPOCHS, "learning_rate": NETWORK_RATE, "random_state": seed
    }  # fmt: skip

    def fold(train: NDArray[np.int64], test: NDArray[np.int64]) -> Found:
        X, y, rows, labels = task.X[train], task.y[train], task.X[test], torch.from_numpy(task.y[test])
        plain = _logits(CrossEntropyClassifier(**options).fit(X, y), rows)
        share = y.mean()
        equal = CrossEntropyClassifier(**options).fit(X, y, np.where(y == 1, 1.0 - share, share))
        unseen = torch.empty(len(y), dtype=torch.float64)
        for part in parts_of(y, INNER, seed):
            seen = np.setdiff1d(np.arange(len(y)), part)
            unseen[part] = _logits(CrossEntropyClassifier(**options).fit(X[seen], y[seen]), X[part])
        found: Found = {}
        for m in NETWORK_METRICS:
            own = AnyLossClassifier(m, **options).fit(X, y)
            cut = tune_threshold(unseen, torch.from_numpy(y), m).threshold
            found[m] = {
                "BCE": held_out(plain, labels, m),
                "weighted BCE": held_out(_logits(equal, rows), labels, m),
                "BCE, tuned": held_out(plain, labels, m, cut),
                "AnyLoss": held_out(_logits(own, rows), labels, m),
            }
        return found

    return _over_folds(task, seed, NETWORK_FOLDS, fold)


def _over_folds(
    task: Task, seed: int, folds: int, fold: Callable[[NDArray[np.int64], NDArray[np.int64]], Found]
) -> Found:
    rows = np.arange(len(task.y))
    return mean_over_folds([fold(np.setdiff1d(rows, test), test) for test in parts_of(task.y, folds, seed)])


def _logits(model: AnyLossClassifier, X: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(model.decision_function(X))
