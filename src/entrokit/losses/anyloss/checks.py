"""What losses of a confusion matrix are given, looked at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..given import check_tensor, floats


def number(value: object, what: str) -> float:
    """A float.

    Raises:
        TypeError: no number.
    """
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(f"{what} must be a number, got {value!r:.60}")
    return float(value)


def check_finite(values: Tensor, who: str, what: str) -> Tensor:
    """``[n]`` or ``[n, K]`` in at least float32, with a row at least and all of it finite."""
    values = floats(values, f"{who}: {what}")
    if values.ndim not in (1, 2):
        raise ValueError(f"{who}: {what} must be [n] or [n, K], got shape {list(values.shape)}")
    if not values.numel():
        raise ValueError(f"{who}: an empty batch, {what} of shape {list(values.shape)}, has no confusion matrix")
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        bad = ~finite
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"{who}: {int(bad.sum())} of {bad.numel()} {what} are NaN or infinite, the first {float(values[at])} at "
            f"{list(at)}; the model has diverged, or its features hold NaN; what is masked needs a finite number, "
            "and a weight of 0"
        )
    return values


def check_labels(y: Tensor, who: str) -> Tensor:
    """Labels of any real dtype.

    Raises:
        TypeError: no tensor, or complex.
    """
    if check_tensor(y, f"{who}: labels").is_complex():
        raise TypeError(f"{who}: labels must be 0 or 1, got {y.dtype}")
    return y


def check_binary(y: Tensor, like: Tensor, who: str) -> Tensor:
    """Labels as numbers of the dtype and on the device of ``like``."""
    fine = (y == 0) | (y == 1)
    if not bool(fine.all()):
        bad = ~fine
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"{who}: labels must be 0 or 1, got {y[at].item()} at {list(at)}; what is to be left out needs one too, "
            "and a weight of 0"
        )
    return y.to(device=like.device, dtype=like.dtype)


def check_weight(weight: Tensor | None, like: Tensor, who: str) -> Tensor | None:
    """Weights as numbers of the dtype of ``like``, with as many dimensions; some of every column above 0."""
    if weight is None:
        return None
    if check_tensor(weight, f"{who}: weights").is_complex():
        raise TypeError(f"{who}: weights must be real, got {weight.dtype}")
    if weight.shape not in (like.shape, like.shape[:1]):
        either = f" or {list(like.shape)}" if like.ndim == 2 else ""
        raise ValueError(f"{who}: weights must be [{len(like)}]{either}, got shape {list(weight.shape)}")
    weight = weight.detach().to(device=like.device, dtype=like.dtype)
    bad = ~(torch.isfinite(weight) & (weight >= 0))
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(f"{who}: weights must be finite and not negative, got {float(weight[at])} at {list(at)}")
    weight = (weight[:, None] if weight.ndim < like.ndim else weight).expand_as(like)
    empty = ~(weight.sum(0) > 0)
    if bool(empty.any()):
        raise ValueError(f"{who}: all weights are 0" + (f" in columns {_first(empty)}" if like.ndim == 2 else ""))
    return weight


def _first(which: Tensor) -> list[int]:
    return [int(i) for i in which.nonzero()[:5, 0]]
