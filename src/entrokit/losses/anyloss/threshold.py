"""The threshold after training: where a metric is highest on labelled scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .checks import check_binary, check_finite, check_labels, check_weight
from .scores import Score, check_score, score_by_name


class TunedThreshold(NamedTuple):
    """Predict 1 where a score is above ``threshold``; the metric then is ``score`` where it was tuned. 0-dim or
    ``[K]``, float64."""

    threshold: Tensor
    score: Tensor


def tune_threshold(
    scores: Tensor,
    y: Tensor,
    metric: str | Score = "f1",
    *,
    beta: float = 1.0,
    weight: Tensor | None = None,
) -> TunedThreshold:
    """The threshold at which a metric of the hard confusion matrix is highest, of all that there are.

    It lies midway between two neighbouring scores, rounded to their dtype, so that comparisons in it do not move one to
    the other side; of several that tie, in the widest gap. Where it is best to predict one class alone, it is the
    largest score, or a number just below the least. Scores that the model was fitted to
    give a threshold and a metric that are too good; take held-out ones, or predictions of cross-validation.

    Args:
        scores: ``[n]`` or ``[n, K]``, of any scale. y: 0 or 1, of the same shape, both in every column.
        metric, beta: as of `AnyLoss`; a function is called with ``[thresholds]``. weight: as of `soft_confusion`.

    Raises:
        ValueError: shapes that do not fit, no rows, NaN, one class only. TypeError: scores are not of floats.
    """
    who = "tune_threshold"
    score = score_by_name(metric, beta, 0.0, who)
    dtype = scores.dtype if isinstance(scores, Tensor) else torch.float64
    scores = check_finite(scores, who, "scores").detach().double()
    if check_labels(y, who).shape != scores.shape:
        both = scores.ndim == 2 and scores.shape[1] == 2 and y.shape == scores.shape[:1]
        raise ValueError(
            f"{who}: labels must be of the shape of scores, {list(scores.shape)}, got {list(y.shape)}"
            + ("; of the probabilities of two classes pass the column of the positive one, proba[:, 1]" if both else "")
        )
    y, weight = check_binary(y, scores, who), check_weight(weight, scores, who)
    weight = torch.ones_like(scores) if weight is None else weight
    flat = scores.ndim == 1
    scores, y, weight = (v[:, None] if flat else v for v in (scores, y, weight))
    positive, negative = weight * y, weight * (1.0 - y)
    single = (positive.sum(0) == 0) | (negative.sum(0) == 0)
    if bool(single.any()):
        where = "" if flat else f" in columns {[int(i) for i in single.nonzero()[:5, 0]]}"
        raise ValueError(f"{who}: one class only{where}, and any threshold would do; both classes are needed")
    columns = [_best(scores[:, k], positive[:, k], negative[:, k], score, dtype) for k in range(scores.shape[1])]
    threshold, best = (torch.stack(values) for values in zip(*columns, strict=True))
    return TunedThreshold(threshold[0], best[0]) if flat else TunedThreshold(threshold, best)


def _best(
    scores: Tensor, positive: Tensor, negative: Tensor, score: Score, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Of one column in float64, whose scores had a ``dtype`` of their own."""
    counted = positive + negative > 0
    values, which = torch.unique(scores[counted], return_inverse=True)
    fn, tn = (torch.zeros_like(values).index_add(0, which, own[counted]).cumsum(0) for own in (positive, negative))
    # A threshold behind each value, and one before the first, where nothing is predicted 0.
    fn, tn = (torch.cat([torch.zeros_like(v[:1]), v]) for v in (fn, tn))
    entries = (fn[-1] - fn, fn, tn[-1] - tn, tn)
    found = check_score(score(*entries), entries, "tune_threshold")
    gaps = torch.zeros_like(found)
    gaps[1:-1] = values.diff()
    # Equal in the reals may differ in the last bits, and the gap decides between them.
    tied = found >= found.max() - 1e-12 * found.abs().max().clamp(min=1.0)
    at = int(torch.where(tied, gaps, -1.0).argmax())
    if at == 0:
        below = values[0] - torch.maximum(
            values[0].abs() * torch.finfo(dtype).eps, values.new_tensor(torch.finfo(dtype).tiny)
        )
        return below.to(dtype).double(), found[at]
    if at == len(values):
        return values[-1], found[at]
    middle = (values[at - 1] + (values[at] - values[at - 1]) / 2).to(dtype).double()
    return torch.where(middle < values[at], middle, values[at - 1]), found[at]
