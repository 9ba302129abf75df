"""What points and times must be before anything is computed of them, and numbers after."""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from ..checks import check_tensors

__all__ = [
    "as_times",
    "check_batch",
    "check_count",
    "check_finite",
    "check_number",
    "check_points",
    "check_scored",
    "check_step",
    "scores_of",
    "wide",
]


def check_points(x: Tensor, dimensions: int | None = None, name: str = "x") -> Tensor:
    """Points ``[B, *]`` of floating point.

    Raises:
        TypeError: no tensor; ``name`` is what errors call it.
        ValueError: none of a batch, not floating point, or of another number of ``dimensions``.
    """
    check_tensors(**{name: x})
    expected = "[B, *]" if dimensions is None else f"[B, {dimensions}]"
    if x.ndim < 2 or (dimensions is not None and x.shape[1:] != (dimensions,)):
        raise ValueError(f"points {expected} are expected; their shape is {list(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"points of floating point are expected; their dtype is {x.dtype}")
    return x


def check_batch(x: Tensor, name: str = "x") -> Tensor:
    """Points ``[B, *]`` that a mean is taken of; raises ValueError where there are none."""
    if not check_points(x, name=name).shape[0]:
        raise ValueError(f"a mean over an empty batch is no number; the points' shape is {list(x.shape)}")
    return x


def as_times(t: Tensor | float, x: Tensor) -> Tensor:
    """Times ``[B]`` of points ``[B, *]``; a number is the time of all.

    Raises:
        TypeError: neither numbers nor one. ValueError: of another shape, or outside [0, 1].
    """
    try:
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"times are a tensor [{x.shape[0]}] or a number; t is a {type(t).__name__}") from error
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


def check_count(name: str, value: SupportsIndex) -> int:
    """A whole number; raises a TypeError that names it, where it is none: 1e5 is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a whole number, such as int(1e5); it is {value!r}") from None


def check_number(name: str, value: float, *, above: bool) -> None:
    """Raises a TypeError where there is no number, a ValueError unless it is at least (or ``above``) 0 and finite."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} is a number; it is {value!r}") from None
    if not 0 <= number < math.inf or (above and not number):
        raise ValueError(f"{name} must be {'above' if above else 'at least'} 0 and finite; it is {value}")


def check_step(x: Tensor, sigma: float) -> None:
    """Warns where steps come near to the rounding of points ``[B, *]``; raises what `check_number` does.

    An entry of x + v is off by up to half an eps of itself: at 16 by a thirtieth of the step, and so are the score's
    differences, times as many roundings as the network makes.
    """
    check_number("sigma", sigma, above=True)
    largest = float(x.detach().abs().max()) if x.numel() else 0.0
    rounding = largest * torch.finfo(x.dtype).eps
    if sigma < 16 * rounding < math.inf:
        warnings.warn(
            f"steps of sigma = {float(sigma):.3g} are near the rounding of points of up to {largest:.3g} in {x.dtype}, "
            f"{rounding:.2g}: differences of scores are noise; take a sigma above {16 * rounding:.2g}, scale the data "
            "down, or take float64",
            stacklevel=3,
        )


def wide(x: Tensor) -> torch.dtype:
    """The dtype to step and to average in: of half precision float32, which adds a step of 0.001 to 1."""
    return torch.promote_types(x.dtype, torch.float32)


def check_scored(model: Any) -> Any:
    """What gives scores: the ``score`` of the model, or what is called so; raises TypeError where there is neither."""
    score = getattr(model, "score", model)
    if not callable(score):
        raise TypeError(f"a score(x, t) is expected; {type(model).__name__} neither has one nor can be called")
    return score


def scores_of(model: Any, x: Tensor, t: Tensor) -> Tensor:
    """Scores ``[B, *]`` of an object with ``score(x, t)``, or of one that is called so.

    Raises:
        TypeError: neither, or something else than a tensor. ValueError: of another shape, or not finite.
    """
    found = check_scored(model)(x, t)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"a score is a tensor; the model gave a {type(found).__name__}: wrap it, as in `lambda x, t: ...`. What a "
            "diffusers model gives as `.sample` is noise, -sigma(t) times the score"
        )
    if found.shape != x.shape:
        raise ValueError(f"a score has its points' shape, {list(x.shape)}; it came as {list(found.shape)}")
    check_finite(found, "the score", x, t)
    return found
