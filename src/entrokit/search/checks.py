"""What numbers, counts and generators must be before a search begins."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def check_number(name: str, value: Any) -> float:
    """A finite number as a float; a tensor or an array of one number without a shape is one.

    Raises:
        TypeError: a list, a string, a bool, a tensor with a shape. ValueError: NaN or infinity.
    """
    scalar = value.item() if getattr(value, "shape", None) == () else value
    if isinstance(scalar, bool) or not isinstance(scalar, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(scalar):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return float(scalar)


def check_share(name: str, value: Any) -> None:
    """Raises a ValueError unless ``value`` lies in (0, 1), a TypeError where it is no number."""
    if not 0.0 < check_number(name, value) < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")


def check_smoothing(value: Any) -> None:
    """Raises a ValueError unless ``value`` lies in (0, 1], a TypeError where it is no number."""
    if not 0.0 < check_number("smoothing", value) <= 1.0:
        raise ValueError(f"smoothing must lie in (0, 1], got {value!r}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raises a ValueError unless ``value`` is a whole number, never 20.0, of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_generator(value: Any) -> None:
    """Raises a TypeError unless ``value`` is a torch.Generator."""
    if not isinstance(value, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, as torch.Generator().manual_seed(0) is; got {value!r}")


def double_points(name: str, given: Any, dtype: torch.dtype) -> Tensor:
    """Numbers in ``dtype``, float64 or complex128.

    Raises:
        TypeError: no numbers; complex ones where real ones are due; a tensor or an array of single precision or less.
    """
    said = str(getattr(given, "dtype", "")).removeprefix("torch.")
    if said in ("float32", "float16", "bfloat16", "complex64", "complex32"):
        raise TypeError(f"{name} takes double precision, complex128 or float64; got {said}")
    try:
        points = torch.as_tensor(given, dtype=torch.complex128)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} takes numbers, got {given!r}: {error}") from None
    if not dtype.is_complex:
        if said.startswith("complex") or bool((points.imag != 0).any()):
            raise TypeError(f"{name} takes real numbers, got complex ones")
        return points.real
    return points


def check_pair(name: str, value: Any) -> tuple[float, float]:
    """(low, high), finite, low < high.

    Raises:
        TypeError: no two numbers. ValueError: NaN, infinity, or low not below high.
    """
    if isinstance(value, Tensor):
        value = value.tolist()
    try:
        low, high = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a pair (low, high), got {value!r}") from None
    pair = check_number(f"{name}'s low", low), check_number(f"{name}'s high", high)
    if not pair[0] < pair[1]:
        raise ValueError(f"{name} needs low < high, got {value!r}")
    return pair
