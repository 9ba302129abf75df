"""What every measure of a series asks of its input, in one wording."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ArrayLike = Tensor | object
"""A tensor, or whatever `numpy.asarray` takes: arrays, lists of numbers."""


def as_float64(x: ArrayLike, name: str) -> Tensor:
    """Real finite numbers as a detached float64 tensor on the device where they are.

    Raises:
        ValueError: no real numbers, or one that is not finite; says where.
    """
    values = as_real(x, name)
    if not bool(values.isfinite().all()):
        at = (~values.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name}: {float(values[tuple(at)])} at index {at}; every number must be finite")
    return values


def as_real(x: ArrayLike, name: str) -> Tensor:
    """As `as_float64`, whether finite or not.

    Raises:
        ValueError: no real numbers.
    """
    try:
        given = x.detach() if isinstance(x, Tensor) else _of_numpy(np.asarray(x))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: a tensor or an array of numbers is expected: {error}") from None
    if given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"{name}: real numbers are expected; got {given.dtype}")
    return given.double()


def _of_numpy(x: NDArray[np.generic]) -> Tensor:
    """Lists go through NumPy, which takes them as float64; views that run backwards and the other byte order, too."""
    if x.dtype.kind not in "iufbc":
        raise TypeError(f"got an array of {x.dtype}")
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


def as_whole(value: object, name: str, least: int) -> int:
    """A whole number of at least ``least``; 1e4 is one.

    Raises:
        ValueError: it is less, or no whole number.
    """
    given = _number(value)
    if given is None or not given.is_integer() or given < least:
        raise ValueError(f"{name}: a whole number of at least {least} is expected; got {value!r}")
    return int(given)


def as_number(value: object, name: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    return _finite(value, name, "", lambda given: True)


def as_positive(value: object, name: str) -> float:
    """A finite number above 0.

    Raises:
        ValueError: it is none.
    """
    return _finite(value, name, " above 0", lambda given: given > 0)


def as_not_negative(value: object, name: str) -> float:
    """A finite number of at least 0.

    Raises:
        ValueError: it is none.
    """
    return _finite(value, name, " of at least 0", lambda given: given >= 0)


def _finite(value: object, name: str, which: str, fits: Callable[[float], bool]) -> float:
    given = _number(value)
    if given is None or not math.isfinite(given) or not fits(given):
        raise ValueError(f"{name}: a finite number{which} is expected; got {value!r}")
    return given


def _number(value: object) -> float | None:
    """A real number of Python or NumPy, or one in an array or a tensor without dimensions; None for anything else."""
    if isinstance(value, (Tensor, np.ndarray)) and not value.ndim:
        value = value.item()
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
