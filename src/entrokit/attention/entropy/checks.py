"""What functions and modules here are given, looked at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def check_floats(given: Any, who: str, what: str) -> Tensor:
    """A tensor of real floats, with values.

    Raises:
        TypeError: it is something else; says what to do of what a model or numpy gives. ValueError: on the meta device.
    """
    if not isinstance(given, Tensor):
        raise TypeError(f"{who}: expected {what} as a tensor, got {_kind(given)}")
    if not given.dtype.is_floating_point:
        raise TypeError(f"{who}: expected {what} in floating point, got {given.dtype}")
    if given.is_meta:
        raise ValueError(f"{who}: {what} on the meta device have no values; load the model's weights first")
    return given


def check_flags(given: Any, who: str, what: str) -> Tensor:
    """A boolean tensor, of booleans or of whole numbers 0 and 1, as tokenizers give them.

    Raises:
        TypeError: something else, as a mask that is added to logits, of which False would be True.
        ValueError: other numbers.
    """
    if not isinstance(given, Tensor) or given.dtype.is_floating_point or given.dtype.is_complex:
        kind = f"a tensor of {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
        raise TypeError(f"{who}: expected {what} as a boolean tensor, False of what is left out, got {kind}")
    if given.dtype != torch.bool and bool(((given != 0) & (given != 1)).any()):
        raise ValueError(f"{who}: {what} must be True and False, or 1 and 0, got other numbers")
    return given.bool()


def check_count(given: Any, who: str, name: str, least: int = 1) -> int:
    """Raises ValueError of what is no whole number of at least ``least``."""
    if isinstance(given, bool) or not isinstance(given, Integral) or given < least:
        raise ValueError(f"{who}: {name} must be a whole number of at least {least}, got {given!r}")
    return int(given)


def check_number(given: Any, who: str, name: str) -> float:
    """Raises ValueError of what is no finite number."""
    if isinstance(given, bool) or not isinstance(given, Real) or not math.isfinite(given):
        raise ValueError(f"{who}: {name} must be a finite number, got {given!r}")
    return float(given)


def _kind(given: Any) -> str:
    kind = type(given).__name__
    if given is None:
        return f"{kind}; only eager attention returns weights: watch_attention measures any"
    if isinstance(given, Mapping) or hasattr(given, "attentions"):
        return f"{kind}; of a model's outputs give the attentions of output_attentions=True, one layer at a time"
    if isinstance(given, (tuple, list)):
        return f"a {kind} of {len(given)}; give its layers one at a time: [attention_entropy(a) for a in attentions]"
    if hasattr(given, "__array__"):
        return f"{kind}; give torch.as_tensor(it)"
    return kind
