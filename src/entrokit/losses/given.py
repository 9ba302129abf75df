"""What losses are given, taken as tensors or refused by name."""

from __future__ import annotations

import torch
from torch import Tensor


def check_tensor(value: object, what: str, kind: str = "a tensor") -> Tensor:
    """The value, if it is a tensor that holds something.

    Raises:
        TypeError: no tensor; says what makes one. ValueError: on the meta device.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} must be {kind}, got {type(value).__name__}{_instead(value)}")
    if value.is_meta:
        raise ValueError(f"{what} is on the meta device and has no values; load the weights first")
    return value


def floats(value: object, what: str) -> Tensor:
    """The value in at least float32.

    Raises:
        TypeError: no tensor of real floats. ValueError: see `check_tensor`.
    """
    tensor = check_tensor(value, what, "a tensor of floats")
    if not tensor.is_floating_point():
        raise TypeError(f"{what} must be a tensor of floats, got {tensor.dtype}")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def integers(value: object, what: str) -> Tensor:
    """The value as int64, in which no comparison wraps around.

    Raises:
        TypeError: no tensor of integers. ValueError: see `check_tensor`.
    """
    tensor = check_tensor(value, what, "a tensor of integers")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{what} must be a tensor of integers, got {tensor.dtype}")
    return tensor.long()


def _instead(value: object) -> str:
    if isinstance(getattr(value, "logits", None), Tensor):
        return "; pass its .logits"
    if hasattr(value, "__array__"):
        return "; torch.as_tensor makes one of it"
    return "; torch.tensor makes one of it" if isinstance(value, (list, tuple, int, float)) else ""
