"""What points, diffusions and fields must be before anything is computed of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Field", "as_diffusion", "check_above", "check_at_least", "check_field", "check_finite", "check_points"]

Field: TypeAlias = Callable[[Tensor], Tensor]
"""A drift, a score or a flow: points ``[B, *]`` to vectors of the same shape, each row of its own point alone."""


def check_points(x: Tensor) -> Tensor:
    """Points ``[B, *]`` of floating point.

    Raises:
        TypeError: no tensor. ValueError: no batch, an empty one, not floating point, or NaN or infinity and where.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"points are a torch.Tensor, as torch.as_tensor makes; got a {type(x).__name__}")
    if x.ndim < 2 or not x.numel():
        raise ValueError(f"points [B, *] are expected, at least one; their shape is {list(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"points of floating point are expected; their dtype is {x.dtype}")
    check_finite(x, "a point", x)
    return x


def as_diffusion(diffusion: Tensor | float, x: Tensor, name: str = "diffusion") -> Tensor:
    """The diagonal of D at every coordinate of points ``[B, *]``, shape ``[*]``; of a number, or what broadcasts to it.

    Args:
        name: of what is given, in errors.

    Raises:
        ValueError: it does not broadcast, or an entry is negative or not finite.
    """
    own = torch.as_tensor(diffusion, dtype=x.dtype, device=x.device)
    try:
        own = own.expand(x.shape[1:])
    except RuntimeError:
        raise ValueError(
            f"{name} is one number, or what broadcasts to {list(x.shape[1:])}; its shape is {list(own.shape)}"
        ) from None
    if not bool(((own >= 0) & own.isfinite()).all()):
        raise ValueError(f"{name} is at least 0 and finite; it has {float(own.flatten()[_first_bad(own)])}")
    return own


def check_field(value: Tensor, what: str, x: Tensor) -> Tensor:
    """What a field gave at points ``[B, *]``.

    Raises:
        TypeError: no tensor. ValueError: of another shape, or not finite, and where.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} is a torch.Tensor; got a {type(value).__name__}")
    if value.shape != x.shape:
        raise ValueError(f"{what} has its points' shape, {list(x.shape)}; it came as {list(value.shape)}")
    check_finite(value, what, x)
    return value


def check_finite(value: Tensor, what: str, x: Tensor) -> None:
    """Raises ValueError: a row of ``value`` ``[B, *]`` is not finite; says which, and the point ``x`` there."""
    fine = value.detach().isfinite()
    if bool(fine.all()):
        return
    bad = ~fine.reshape(len(fine), -1).all(1)
    row = int(bad.nonzero()[0])
    point = ", ".join(f"{v:.4g}" for v in x[row].detach().flatten()[:4].tolist())
    raise ValueError(
        f"{what} is not finite in {int(bad.sum())} of {len(bad)} rows; the first is row {row}, "
        f"x = [{point}{', ...' if x[row].numel() > 4 else ''}]"
    )


def check_above(**named: float) -> None:
    """Raises ValueError: a number is not above 0 and finite."""
    for name, value in named.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0 and finite; it is {value}")


def check_at_least(least: float = 0.0, **named: float) -> None:
    """Raises ValueError: a number is below ``least`` or not finite."""
    for name, value in named.items():
        if not least <= value < math.inf:
            raise ValueError(f"{name} must be at least {least:g} and finite; it is {value}")


def _first_bad(own: Tensor) -> int:
    flat = own.flatten()
    return int((~((flat >= 0) & flat.isfinite())).nonzero()[0])
