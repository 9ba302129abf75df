"""What points and times must be before anything is computed of them, and numbers after."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["as_times", "check_batch", "check_finite", "check_points", "scores_of"]


def check_points(x: Tensor, dimensions: int | None = None) -> Tensor:
    """Points ``[B, *]`` of floating point.

    Raises:
        ValueError: none of a batch, not floating point, or of another number of ``dimensions``.
    """
    expected = "[B, *]" if dimensions is None else f"[B, {dimensions}]"
    if x.ndim < 2 or (dimensions is not None and x.shape[1:] != (dimensions,)):
        raise ValueError(f"points {expected} are expected; their shape is {list(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"points of floating point are expected; their dtype is {x.dtype}")
    return x


def check_batch(x: Tensor) -> Tensor:
    """Points ``[B, *]`` that a mean is taken of; raises ValueError where there are none."""
    if not check_points(x).shape[0]:
        raise ValueError(f"a mean over an empty batch is no number; the points' shape is {list(x.shape)}")
    return x


def as_times(t: Tensor | float, x: Tensor) -> Tensor:
    """Times ``[B]`` of points ``[B, *]``; a number is the time of all.

    Raises:
        ValueError: of another shape, or outside [0, 1].
    """
    times = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    if times.shape not in ((), x.shape[:1]):
        raise ValueError(f"a time a point, [{x.shape[0]}], or a number is expected; the shape is {list(times.shape)}")
    outside = ~((times >= 0) & (times <= 1))
    if bool(outside.any()):
        first = float(times[outside].flatten()[0])
        raise ValueError(f"times lie in [0, 1], data at 0 and noise at 1; there is one of {first}")
    return times.expand(x.shape[0])


def check_finite(values: Tensor, what: str, x: Tensor, t: Tensor) -> None:
    """Numbers ``[B, *]`` at points ``[B, *]`` and times ``[B]``.

    Raises:
        ValueError: one is NaN or infinite; says at which point and time.
    """
    fine = values.detach().isfinite()
    if bool(fine.all()):
        return
    bad = ~fine.reshape(len(fine), -1).all(1)
    row = int(bad.nonzero()[0])
    point = ", ".join(f"{v:.4g}" for v in x[row].detach().flatten()[:4].tolist())
    raise ValueError(
        f"{what} is not finite at {int(bad.sum())} of {len(bad)} points; the first is row {row}, x = [{point}"
        f"{', ...' if x[row].numel() > 4 else ''}], t = {t[row].item():.4g}"
    )


def scores_of(model: Any, x: Tensor, t: Tensor) -> Tensor:
    """Scores ``[B, *]`` of an object with ``score(x, t)``, or of one that is called so.

    Raises:
        TypeError: neither. ValueError: of another shape, or not finite.
    """
    score = getattr(model, "score", model)
    if not callable(score):
        raise TypeError(f"a score(x, t) is expected; {type(model).__name__} neither has one nor can be called")
    found: Tensor = score(x, t)
    if found.shape != x.shape:
        raise ValueError(f"a score has its points' shape, {list(x.shape)}; it came as {list(found.shape)}")
    check_finite(found, "the score", x, t)
    return found
