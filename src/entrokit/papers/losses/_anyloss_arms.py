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
FOLDS, INNER, STEPS = 3, 3, 1000
# The paper's rates of its perceptron.
RATE, ANYLOSS_RATE = 0.1, 0.005
Found = dict[str, dict[str, float]]
Losses = Callable[[Tensor, Tensor], Tensor]


def held_out(logits: Tensor, y: Tensor, metric: str, threshold: float | Tensor = 0.0) -> float:
    """A metric of predictions by a threshold on logits ``[n]``."""
    return float(SCORES[metric](*hard_confusion(logits, y, threshold)))


def linear_arms(task: Task, seed: int) -> Found:
    """By metric and arm: means over three test folds of linear models from zeros, 1000 full gradient steps.

    A threshold is tuned on the predictions, for the rows of three inner folds, of models trained on the other two.
    """
    y = torch.from_numpy(task.y)
    splits = parts_of(task.y, FOLDS, seed)
    X = torch.stack([_standardised(task.X, test) for test in splits])
    inner = [_inner_parts(task.y, test, seed) for test in splits]
    # Columns: all rows that a fold trains on, and all but those of each inner fold.
    kept = torch.ones(len(splits), len(y), 1 + INNER)
    for fold, (test, parts) in enumerate(zip(splits, inner, strict=True)):
        kept[fold, test] = 0.0
        for k, part in enumerate(parts, 1):
            kept[fold, part, k] = 0.0
    equal = kept[..., :1] * torch.where(y == 1, 1.0 - task.y.mean(), task.y.mean())[:, None]
    plain = descend(X, torch.cat([kept, equal], 2), cross_entropies(y), RATE)
    focal = descend(X, kept[..., :1], focal_losses(y), RATE)
    own = descend(X, kept.repeat(1, 1, len(SCORES)), any_losses(list(SCORES), y), ANYLOSS_RATE)
    each: list[Found] = []
    for fold, (test, parts) in enumerate(zip(splits, inner, strict=True)):
        found: Found = {}
        for metric, models in zip(SCORES, torch.split(own[fold], 1 + INNER, dim=1), strict=True):
            at: dict[str, tuple[Tensor, float | Tensor]] = {
                "BCE": (plain[fold, :, 0], 0.0),
                "weighted BCE": (plain[fold, :, -1], 0.0),
                "focal": (focal[fold, :, 0], 0.0),
                "BCE, tuned": (plain[fold, :, 0], _tuned(plain[fold], y, parts, metric)),
                "AnyLoss": (models[:, 0], 0.0),
                "AnyLoss, tuned": (models[:, 0], _tuned(models, y, parts, metric)),
            }
            found[metric] = {arm: held_out(z[test], y[test], metric, cut) for arm, (z, cut) in at.items()}
        each.append(found)
    return mean_over_folds(each)


def mean_over_folds(each: list[Found]) -> Found:
    """Of what every fold scored."""
    return {m: {arm: float(np.mean([one[m][arm] for one in each])) for arm in own} for m, own in each[0].items()}


def parts_of(y: NDArray[np.int64], parts: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each fold, with their share of both classes."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(parts, shuffle=True, random_state=seed)
    return [out for _, out in folds.split(np.zeros((len(y), 1)), y)]


def _inner_parts(y: NDArray[np.int64], test: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    train = np.setdiff1d(np.arange(len(y)), test)
    return [train[part] for part in parts_of(y[train], INNER, seed)]


def descend(X: Tensor, weights: Tensor, losses: Losses, rate: float, steps: int | None = None) -> Tensor:
    """Logits ``[folds, n, K]`` of K linear models a fold, from zeros, each trained by its own weights.

    Args:
        X: ``[folds, n, F]``. weights: ``[folds, n, K]``, 0 for rows held out. losses: of logits and weights
            ``[n, folds * K]``, a column each.
    """
    folds, _, features = X.shape
    parameters = torch.zeros(folds, features, weights.shape[2], dtype=X.dtype, requires_grad=True)
    optimizer = torch.optim.SGD([parameters], lr=rate)
    columns = weights.to(X.dtype).transpose(0, 1).flatten(1)
    for _ in range(STEPS if steps is None else steps):
        optimizer.zero_grad()
        # Each loss depends on its own column, so the sum gives each its own gradient.
        torch.autograd.backward(losses((X @ parameters).transpose(0, 1).flatten(1), columns).sum())
        optimizer.step()
    return (X @ parameters.detach()).double()


def cross_entropies(y: Tensor) -> Losses:
    def losses(logits: Tensor, weights: Tensor) -> Tensor:
        targets = y.to(logits.dtype)[:, None].expand_as(logits)
        each = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (weights * each).sum(0) / weights.sum(0)

    return losses


def focal_losses(y: Tensor, gamma: float = 2.0) -> Losses:
    """-(1 - q)^γ ln q of the probability q of the right class."""

    def losses(logits: Tensor, weights: Tensor) -> Tensor:
        right = (2 * y - 1)[:, None] * logits
        return -(weights * torch.sigmoid(-right) ** gamma * logsigmoid(right)).sum(0) / weights.sum(0)

    return losses


def any_losses(metrics: list[str], y: Tensor) -> Losses:
    """Of columns ``[folds, metrics, models]``."""

    def score(*entries: Tensor) -> Tensor:
        by_metric = [entry.view(FOLDS, len(metrics), -1) for entry in entries]
        each = [SCORES[m](*(entry[:, i] for entry in by_metric)) for i, m in enumerate(metrics)]
        return torch.stack(each, 1).flatten()

    loss = AnyLoss(score, reduction="none")

    def losses(logits: Tensor, weights: Tensor) -> Tensor:
        found: Tensor = loss(logits, y[:, None].expand_as(logits), weights)
        return found

    return losses


def _tuned(logits: Tensor, y: Tensor, parts: list[NDArray[np.int64]], metric: str) -> Tensor:
    """The best threshold for the rows of inner folds by the models that did not see them: columns 1 and on."""
    rows = np.concatenate(parts)
    unseen = torch.cat([logits[part, k] for k, part in enumerate(parts, 1)])
    return tune_threshold(unseen, y[rows], metric).threshold


def _standardised(X: NDArray[np.float64], test: NDArray[np.int64]) -> Tensor:
    """By the means and deviations of the rows that are not held out, with a column of ones; in float32."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(np.delete(X, test, axis=0))
    return torch.from_numpy(np.column_stack([scaler.transform(X), np.ones(len(X))])).float()
