"""What every measure of a series asks of its input, in one wording."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.types import Number

ArrayLike = Tensor | object
"""A tensor, or whatever `numpy.asarray` takes: arrays, lists of numbers."""


def as_float64(x: ArrayLike, name: str) -> Tensor:
    """Real finite numbers as a detached float64 tensor on the device where they are.

    Raises:
        ValueError: no real numbers, or one that is not finite; says where.
    """
    try:
        given = x.detach() if isinstance(x, Tensor) else _of_numpy(np.asarray(x))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: a tensor or an array of numbers is expected; {error}") from None
    if given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"{name}: real numbers are expected; got {given.dtype}")
    values = given.double()
    if not bool(values.isfinite().all()):
        at = (~values.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name}: {float(values[tuple(at)])} at index {at}; every number must be finite")
    return values


def _of_numpy(x: NDArray[np.generic]) -> Tensor:
    """Lists go through NumPy, which takes them as float64; views that run backwards and the other byte order, too."""
    if x.dtype.kind in "iuf":
        x = np.ascontiguousarray(x, np.float64).reshape(x.shape)
    return torch.as_tensor(x)


def as_series(x: ArrayLike, name: str, least: int, *, varies: bool = True) -> Tensor:
    """Series ``[..., T]`` in float64, of at least ``least`` points; with ``varies`` none of them constant.

    Raises:
        ValueError: too short, empty, not finite, or constant.
    """
    series = as_float64(x, name)
    if not series.ndim or series.shape[-1] < least or not series.numel():
        raise ValueError(f"{name}: series [..., T] of at least {least} points are expected; got {list(series.shape)}")
    if varies:
        constant = series.amax(-1) == series.amin(-1)
        if bool(constant.any()):
            at = constant.nonzero()[0].tolist()
            which = f"the series at {at}" if at else "the series"
            raise ValueError(f"{name}: {which} is constant, so that it has no scale; leave such series out")
    return series


def as_states(x: ArrayLike, name: str, least: int = 1) -> Tensor:
    """Points ``[..., T, D]`` of trajectories in float64, at least ``least`` of them.

    Raises:
        ValueError: too few, empty, or not finite.
    """
    states = as_float64(x, name)
    if states.ndim < 2 or states.shape[-2] < least or not states.numel():
        raise ValueError(f"{name}: points [..., T, D], T at least {least}, are expected; got {list(states.shape)}")
    return states


def check_whole(value: Number, name: str, least: int) -> None:
    """A whole number of at least ``least``.

    Raises:
        ValueError: it is less, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name}: a whole number of at least {least} is expected; got {value!r}")


def check_positive(value: float, name: str) -> None:
    """A finite number above 0.

    Raises:
        ValueError: it is none.
    """
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: a finite number above 0 is expected; got {value!r}")
