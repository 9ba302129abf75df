"""Confusion matrices of binary labels: soft ones, through which gradients flow, and the usual ones.

AnyLoss: Transforming Classification Metrics into Loss Functions (arXiv 2405.14745). With probabilities p, labels y and
the amplifying scale L,

    h = 1 / (1 + exp(-L (p - 1/2)))
    TP = Σ y h    FN = Σ y (1 - h)    FP = Σ (1 - y) h    TN = Σ (1 - y) (1 - h)

so that TP + FN and FP + TN are the classes' sizes whatever p is. The official code has 1 - h by subtraction: in float32
h rounds to 1 from p of about 0.73 on, and a gradient that goes through h then is an exact 0. Here whichever of h and
1 - h is small is computed as it is, and both keep their slope.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..given import check_tensor, floats
from .checks import check_binary, check_finite, check_labels, check_weight, number


class Confusion(NamedTuple):
    """True positives, false negatives, false positives and true negatives: 0-dim, or ``[K]``, one a column."""

    tp: Tensor
    fn: Tensor
    fp: Tensor
    tn: Tensor


def amplify(p: Tensor, scale: float = 73.0) -> Tensor:
    """h = 1 / (1 + exp(-scale (p - 1/2))), of the shape of ``p``: near 0 or 1 on either side of one half.

    In float64, 74 is the largest integer scale at which h of p = 1 is still below 1, in float32 34; the formula as it
    is written gets to 73 and 33. Beyond, h rounds to 1, and its gradient stays what it is.

    Args:
        p: probabilities. scale: L, above 0.

    Raises:
        ValueError: scale not above 0 or infinite. TypeError: ``p`` is not of floats.
    """
    return _tails(_check_scale(scale, "amplify") * (floats(p, "amplify: p") - 0.5))[0]


def soft_confusion(p: Tensor, y: Tensor, amplify: float = 73.0, *, weight: Tensor | None = None) -> Confusion:
    """The soft confusion matrix, differentiable in ``p``; of half precision it is computed in float32.

    Args:
        p: probabilities, ``[n]``, or ``[n, K]`` of K labels, each a matrix of its own. y: 0 or 1, of the same shape.
        amplify: L, above 0. weight: not negative, ``[n]``, or of the shape of ``p``; multiplies what is counted.

    Raises:
        ValueError: shapes that do not fit, no rows, values out of range, NaN. TypeError: ``p`` is not of floats.
    """
    scale = _check_scale(amplify, "soft_confusion")
    p = check_probabilities(p, "soft_confusion")
    return confusion_of(scale * (p - 0.5), *_counted(p, y, weight, "soft_confusion"))


def hard_confusion(
    scores: Tensor, y: Tensor, threshold: float | Tensor = 0.5, *, weight: Tensor | None = None
) -> Confusion:
    """The usual confusion matrix of predictions ``scores > threshold``.

    Args:
        scores: ``[n]`` or ``[n, K]``, probabilities or others. y, weight: as for `soft_confusion`.
        threshold: one, or ``[K]``; compared in the dtype of the scores.

    Raises:
        ValueError, TypeError: as `soft_confusion`, of a threshold too; scores may be any that are finite.
    """
    scores = check_finite(scores, "hard_confusion", "scores")
    parts = _split(*_counted(scores, y, weight, "hard_confusion"))
    h = (scores > _check_threshold(threshold, scores)).to(scores.dtype)
    return _sums(h, 1.0 - h, *parts)


def confusion_of(x: Tensor, y: Tensor, weight: Tensor | None) -> Confusion:
    """The soft matrix by x = L (p - 1/2); what it is given has been checked."""
    return _sums(*_tails(x), *_split(y, weight))


def check_probabilities(p: Tensor, who: str) -> Tensor:
    """Probabilities ``[n]`` or ``[n, K]``, not empty, in at least float32."""
    p = check_finite(p, who, "probabilities")
    bad = (p < 0) | (p > 1)
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(f"{who}: probabilities must lie in [0, 1], got {float(p[at])} at {list(at)}; are they logits?")
    return p


def _counted(p: Tensor, y: Tensor, weight: Tensor | None, who: str) -> tuple[Tensor, Tensor | None]:
    if check_labels(y, who).shape != p.shape:
        raise ValueError(f"{who}: labels must be of the shape of what is counted, {list(p.shape)}, got {list(y.shape)}")
    return check_binary(y, p, who), check_weight(weight, p, who)


def _check_scale(scale: float, who: str) -> float:
    if not 0.0 < number(scale, f"{who}: the amplifying scale") < math.inf:
        raise ValueError(f"{who}: the amplifying scale must be a number above 0, got {scale}")
    return float(scale)


def _check_threshold(threshold: float | Tensor, scores: Tensor) -> Tensor:
    if not isinstance(threshold, Tensor):
        return _check_threshold(scores.new_tensor(number(threshold, "hard_confusion: the threshold")), scores)
    cut = check_tensor(threshold, "hard_confusion: the threshold").to(scores)
    if cut.shape not in ((), scores.shape[1:]):
        columns = f" or [{scores.shape[1]}], one a column" if scores.ndim == 2 else ""
        raise ValueError(f"hard_confusion: the threshold must be one number{columns}, got shape {list(cut.shape)}")
    if bool(cut.isnan().any()):
        raise ValueError("hard_confusion: the threshold is NaN, and nothing is above it")
    return cut


def _tails(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sigmoid(x) and 1 - sigmoid(x): exact where near 0, and with an exact slope where near 1."""
    above = x > 0
    # Not -|x|, whose slope at 0 is 0: a model that begins at p = 1/2 would stay there.
    small = torch.sigmoid(torch.where(above, -x, x))
    large = 1.0 - small
    return torch.where(above, large, small), torch.where(above, small, large)


def _split(y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """What each row counts as a positive, and as a negative."""
    positive = y if weight is None else y * weight
    return positive, (1.0 if weight is None else weight) - positive


def _sums(h: Tensor, rest: Tensor, positive: Tensor, negative: Tensor) -> Confusion:
    return Confusion((positive * h).sum(0), (positive * rest).sum(0), (negative * h).sum(0), (negative * rest).sum(0))
