"""A metric of the confusion matrix as a loss (AnyLoss, arXiv 2405.14745): 1 - metric of the soft matrix of the batch.

The counts are the batch's own. The official listing for networks divides by the size of the training set, which is
another loss for every batch size. The official gradient of G-mean is four times the true one; here it is autograd's.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from ..given import check_tensor
from .checks import check_binary, check_finite, check_labels, check_weight, number
from .confusion import Confusion, check_probabilities, confusion_of
from .scores import Score, check_score, score_by_name


class AnyLoss(nn.Module):
    """1 - metric, of the soft confusion matrix of a batch (arXiv 2405.14745).

    The loss is not a mean over examples: batches should be large, or hold their share of every class, and gradients
    accumulated over small batches are not those of a large one. Several columns are one label each against the rest,
    and the loss is their mean.

    Args:
        metric: "f1", "fbeta", "accuracy", "gmean", "gmean_squared" (without the root), "balanced_accuracy", or a
            function of tp, fn, fp and tn (0-dim, or ``[K]``) that gives a score, the higher the better.
        beta: of "fbeta": how much more recall counts than precision.
        amplify: L, above 0; the attribute may be changed between steps. The smaller, the further from p = 1/2 there is
            a gradient: at 73, dh/dz is below 1e-5 where |p - 1/2| > 0.2.
        from_logits: whether a sigmoid comes first. smooth: added to the metric's denominators.
        bce_share: r in [0, 1): the loss becomes (1 - r) (1 - metric) + r BCE, with both classes of equal weight in
            the cross-entropy (nats). reduction: of columns, "mean" or "none".

    Raises:
        ValueError, TypeError: an argument out of its range.
    """

    def __init__(
        self,
        metric: str | Score = "f1",
        *,
        beta: float = 1.0,
        amplify: float = 73.0,
        from_logits: bool = True,
        smooth: float = 0.0,
        bce_share: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self._score = score_by_name(metric, beta, smooth, "AnyLoss")
        if not 0.0 <= number(bce_share, "AnyLoss: bce_share") < 1.0:
            raise ValueError(f"AnyLoss: bce_share must lie in [0, 1), got {bce_share}")
        if reduction not in ("mean", "none"):
            raise ValueError(f"AnyLoss: reduction must be 'mean' or 'none', got {reduction!r}")
        self.metric, self.from_logits, self.bce_share, self.reduction = metric, from_logits, bce_share, reduction
        self.amplify = amplify

    @property
    def amplify(self) -> float:
        """L, the amplifying scale."""
        return self._amplify

    @amplify.setter
    def amplify(self, scale: float) -> None:
        if not 0.0 < number(scale, "AnyLoss: amplify") < float("inf"):
            raise ValueError(f"AnyLoss: amplify must be a number above 0, got {scale}")
        self._amplify = float(scale)

    def forward(self, inputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, 0-dim, or ``[K]`` with ``reduction="none"``; of half precision it is in float32.

        A class that a column lacks: F-beta of no positives is 0 whatever is predicted, so the loss is 1 without a
        gradient; G-mean and balanced accuracy are the recall of the class that is there. Each with a warning.

        Args:
            inputs: logits, or probabilities: ``[n]`` or ``[n, 1]``, or ``[n, K]`` of K labels or classes.
            targets: 0 or 1, of the shape of ``inputs`` (``[n]`` and ``[n, 1]`` are the same); or ``[n]`` integers from
                0 to K - 1, each class then being held against the rest.
            weight: not negative, ``[n]``, or of the shape of ``inputs``; 0 leaves a label out.

        Raises:
            ValueError: an empty batch, shapes that do not fit, targets out of range, NaN or infinity, a metric that is
                not finite. TypeError: ``inputs`` is not of floats, or what is no tensor.
        """
        given = check_finite(inputs, "AnyLoss", "logits" if self.from_logits else "probabilities")
        targets = _one_column_each(check_labels(targets, "AnyLoss"), given)
        given, targets = _without_width(given), _without_width(targets)
        if weight is not None and check_tensor(weight, "AnyLoss: weights").ndim == 2:
            weight = _without_width(weight)
        if targets.shape != given.shape:
            raise ValueError(
                f"AnyLoss: targets must be {list(inputs.shape)} of 0 and 1, or [{len(inputs)}] of classes where there "
                f"are columns for them; got shape {list(targets.shape)} for inputs {list(inputs.shape)}"
            )
        y = check_binary(targets, given, "AnyLoss")
        weight = check_weight(weight, given, "AnyLoss")
        if self.from_logits:
            # p - 1/2 = tanh(z/2) / 2, which does not cancel near 1/2.
            x = 0.5 * self.amplify * torch.tanh(0.5 * given)
        else:
            x = self.amplify * (check_probabilities(given, "AnyLoss") - 0.5)
        confusion = confusion_of(x, y, weight)
        self._warn_of_absent(confusion, len(y))
        loss = 1.0 - check_score(self._score(*confusion), confusion, "AnyLoss")
        if self.bce_share:
            loss = (1.0 - self.bce_share) * loss + self.bce_share * self._cross_entropy(given, y, weight)
        return loss.mean() if self.reduction == "mean" else loss

    def _cross_entropy(self, given: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """Mean over the classes that are there of their mean cross-entropies, a column each."""
        function = binary_cross_entropy_with_logits if self.from_logits else binary_cross_entropy
        # Of probabilities autocast refuses it on a GPU, where it would be in half precision.
        with torch.autocast(given.device.type, enabled=False):
            each = function(given, y, reduction="none")
        weight = torch.ones_like(y) if weight is None else weight
        total, there = torch.zeros_like(each[0]), torch.zeros_like(each[0])
        for own in (weight * y, weight * (1.0 - y)):
            size = own.sum(0)
            total = total + torch.where(size > 0, (own * each).sum(0) / torch.where(size > 0, size, 1.0), 0.0)
            there = there + (size > 0)
        return total / there

    def _warn_of_absent(self, confusion: Confusion, rows: int) -> None:
        if callable(self.metric) or self.metric == "accuracy":
            return
        tp, fn, fp, tn = (entry.detach() for entry in confusion)
        absent = {"positives": tp + fn == 0}
        if self.metric in ("f1", "fbeta"):
            then = "there its loss is 1 and has no gradient"
        else:
            absent["negatives"] = fp + tn == 0
            then = "there it is the recall of the class that is present"
        for which, columns in absent.items():
            if bool(columns.any()):
                where = f" in columns {[int(i) for i in columns.nonzero()[:5, 0]]}" if columns.ndim else ""
                warnings.warn(
                    f"AnyLoss: the batch of {rows} has no {which}{where}, and {self.metric} needs them: {then}; take "
                    "larger or stratified batches",
                    stacklevel=5,
                )

    def extra_repr(self) -> str:
        return f"metric={self.metric!r}, amplify={self.amplify:g}, from_logits={self.from_logits}"


def _without_width(values: Tensor) -> Tensor:
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _one_column_each(targets: Tensor, inputs: Tensor) -> Tensor:
    """Classes ``[n]`` as a 0 or 1 a column; other targets as they are."""
    if targets.ndim != 1 or inputs.ndim != 2 or inputs.shape[1] == 1:
        return targets
    classes = inputs.shape[1]
    if targets.dtype.is_floating_point or targets.dtype is torch.bool or len(targets) != len(inputs):
        raise ValueError(
            f"AnyLoss: inputs {list(inputs.shape)} need targets of that shape, or [{len(inputs)}] integers from 0 to "
            f"{classes - 1}; got {list(targets.shape)} of {targets.dtype}"
        )
    # Narrow integers would compare with a wrapped number of classes.
    targets = targets.long()
    bad = (targets < 0) | (targets >= classes)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise ValueError(
            f"AnyLoss: classes must be 0 to {classes - 1}, got {int(targets[at])} at [{at}]; a row that is to be left "
            "out needs one too, and a weight of 0"
        )
    return torch.nn.functional.one_hot(targets, classes)
