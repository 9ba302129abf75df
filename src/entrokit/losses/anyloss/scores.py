"""Metrics of a confusion matrix, hard or soft, as functions of its four entries (AnyLoss, arXiv 2405.14745).

Each is elementwise over 0-dim tensors or ``[K]``, in [0, 1], differentiable, and never NaN: of a class that is absent
nothing is known, and a mean over classes is then that of the present ones.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..given import check_tensor
from .checks import number

Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Of tp, fn, fp and tn."""


def accuracy(tp: Tensor, fn: Tensor, fp: Tensor, tn: Tensor, *, smooth: float = 0.0) -> Tensor:
    """(TP + TN) / n; 0 where nothing was counted. ``smooth`` is added to the denominator, here as below."""
    return _over(tp + tn, tp + fn + fp + tn, smooth)


def f_beta(tp: Tensor, fn: Tensor, fp: Tensor, tn: Tensor, *, beta: float = 1.0, smooth: float = 0.0) -> Tensor:
    """(1 + β²) TP / ((1 + β²) TP + β² FN + FP), recall counting β times as much as precision.

    Without positives it is 0 whatever is predicted, with a gradient of 0; so is 0/0.
    """
    _check_beta(beta, "f_beta")
    own = (1.0 + beta**2) * tp
    return _over(own, own + beta**2 * fn + fp, smooth)


def g_mean(tp: Tensor, fn: Tensor, fp: Tensor, tn: Tensor, *, squared: bool = False, smooth: float = 0.0) -> Tensor:
    """√(TP/P · TN/N), or without the root; with one class absent, the recall of the other (squared: its square)."""
    first, second = _recalls(tp, fn, fp, tn, smooth)
    product = first * second
    if squared:
        return product
    # The root has no slope at 0, where it would turn a gradient of 0 into NaN.
    return product.clamp(min=torch.finfo(product.dtype).tiny).sqrt()


def balanced_accuracy(tp: Tensor, fn: Tensor, fp: Tensor, tn: Tensor, *, smooth: float = 0.0) -> Tensor:
    """(TP/P + TN/N) / 2; with one class absent, the recall of the other."""
    first, second = _recalls(tp, fn, fp, tn, smooth)
    return 0.5 * (first + second)


def score_by_name(metric: str | Score, beta: float, smooth: float, who: str) -> Score:
    """The metric as a function of the four entries alone.

    Raises:
        ValueError: a name that is none; beta not above 0, or other than 1 where the metric has none; smooth below 0.
            TypeError: neither a name nor a function, or one that does not take four counts.
    """
    _check_beta(beta, who)
    _check_smooth(smooth, who)
    if beta != 1.0 and metric != "fbeta":
        raise ValueError(f"{who}: beta belongs to metric='fbeta', and the metric is {metric!r}")
    if callable(metric):
        if smooth:
            raise ValueError(f"{who}: smooth belongs to the named metrics; put it into your function")
        _check_counts(metric, who)
        return metric
    if not isinstance(metric, str):
        raise TypeError(f"{who}: the metric is a name or a function of tp, fn, fp and tn, got {metric!r}")
    named: dict[str, Score] = {
        "f1": partial(f_beta, smooth=smooth),
        "fbeta": partial(f_beta, beta=beta, smooth=smooth),
        "accuracy": partial(accuracy, smooth=smooth),
        "gmean": partial(g_mean, smooth=smooth),
        "gmean_squared": partial(g_mean, squared=True, smooth=smooth),
        "balanced_accuracy": partial(balanced_accuracy, smooth=smooth),
    }
    if metric not in named:
        raise ValueError(f"{who}: no metric {metric!r}; there are {', '.join(named)}, or a function of tp, fn, fp, tn")
    return named[metric]


def check_score(value: Tensor, confusion: tuple[Tensor, ...], who: str) -> Tensor:
    """A score with one finite number a column.

    Raises:
        ValueError: of another shape, NaN or infinite. TypeError: no tensor.
    """
    tp = confusion[0]
    if not isinstance(value, Tensor):
        raise TypeError(f"{who}: the metric must give a tensor, got {type(value).__name__}")
    if value.shape != tp.shape:
        raise ValueError(f"{who}: the metric must give shape {list(tp.shape)}, as tp has, got {list(value.shape)}")
    bad = ~torch.isfinite(value)
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0]) if value.ndim else ()
        entries = ", ".join(f"{n} = {float(v[at]):g}" for n, v in zip(("tp", "fn", "fp", "tn"), confusion, strict=True))
        raise ValueError(f"{who}: the metric is {float(value[at])} at {entries}; guard its denominators")
    return value


def _check_counts(metric: Score, who: str) -> None:
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):
        return  # a builtin may have none that can be read
    try:
        signature.bind(*"1234")
    except TypeError as error:
        name = getattr(metric, "__name__", type(metric).__name__)
        raise TypeError(
            f"{who}: the metric {name}{signature} must take four counts, tp, fn, fp and tn, and not labels and "
            f"predictions: {error}"
        ) from error


def _recalls(tp: Tensor, fn: Tensor, fp: Tensor, tn: Tensor, smooth: float) -> tuple[Tensor, Tensor]:
    positives, negatives = tp + fn, fp + tn
    recall, specificity = _over(tp, positives, smooth), _over(tn, negatives, smooth)
    return (
        torch.where(positives > 0, recall, specificity),
        torch.where(negatives > 0, specificity, recall),
    )


def _check_beta(beta: float, who: str) -> None:
    if not 0.0 < number(beta, f"{who}: beta") < math.inf:
        raise ValueError(f"{who}: beta must be a number above 0, got {beta}")


def _check_smooth(smooth: float, who: str) -> None:
    if not 0.0 <= number(smooth, f"{who}: smooth") < math.inf:
        raise ValueError(f"{who}: smooth must be a number of at least 0, got {smooth}")


def _over(part: Tensor, whole: Tensor, smooth: float) -> Tensor:
    _check_smooth(smooth, "the metric")
    there = check_tensor(whole, "the metric: counts") > 0
    return torch.where(there, part / (torch.where(there, whole, 1.0) + smooth), 0.0)
