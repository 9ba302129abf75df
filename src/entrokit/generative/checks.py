"""What tensors must be before anything is computed from them."""

from __future__ import annotations

from numbers import Integral, Real

import torch
from torch import Tensor

__all__ = ["check_callable", "check_finite", "check_number", "check_numbers", "check_tensors", "check_whole"]

# What holds the tensor in the answers of diffusers' models, schedulers and pipelines, and in our own.
_HOLDERS = ("sample", "samples", "prev_sample", "images")


def check_tensors(**named: object) -> None:
    """Raises a TypeError that names the first argument that is no tensor."""
    for name, value in named.items():
        if not isinstance(value, Tensor):
            held = next((own for own in _HOLDERS if isinstance(getattr(value, own, None), Tensor)), None)
            how = "as torch.as_tensor makes" if held is None else f"here its .{held}"
            raise TypeError(f"{name} must be a torch.Tensor, {how}; it is a {type(value).__name__}")


def check_numbers(**named: object) -> None:
    """Raises a TypeError that names the first argument that is no number, nor a tensor of one."""
    for name, value in named.items():
        if not isinstance(value, Real) and not (isinstance(value, Tensor) and not value.ndim):
            raise TypeError(f"{name} must be a number; it is {_told(value)}")


def check_whole(**named: object) -> None:
    """Raises a TypeError that names the first argument that is no whole number: a count is an int, never 20.0."""
    for name, value in named.items():
        whole = isinstance(value, Tensor) and not value.ndim and not value.is_floating_point()
        if not isinstance(value, Integral) and not whole:
            raise TypeError(f"{name} must be a whole number; it is {_told(value)}")


def check_finite(name: str, x: Tensor) -> None:
    """Raises a ValueError that says how many of the samples ``x`` ``[B, ...]`` hold NaN or infinity."""
    bad = ~torch.isfinite(x).reshape(len(x), -1).all(1) if len(x) else torch.zeros(0, dtype=torch.bool)
    if bool(bad.any()):
        raise ValueError(
            f"{name} is NaN or infinite in {int(bad.sum())} of {len(x)} samples, first in {int(bad.nonzero()[0, 0])}"
        )


def check_number(name: str, value: object) -> None:
    """Raises a TypeError that names what is no real number: a string, None, a tensor."""
    if not isinstance(value, Real):
        advice = f": take {name}.item()" if hasattr(value, "item") else ""
        raise TypeError(f"{name} must be a number; it is a {type(value).__name__}{advice}")


def check_callable(name: str, value: object, call: str) -> None:
    """Raises a TypeError that names what cannot be called, and says how it would be."""
    if not callable(value):
        raise TypeError(f"{name} must be a callable, {call}; it is a {type(value).__name__}")


def _told(value: object) -> str:
    if isinstance(value, Real):
        return str(value)
    return f"a Tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
