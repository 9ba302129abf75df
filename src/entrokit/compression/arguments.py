"""Arguments that are meant as a flag, a count, a number or a model, and are nothing that only looks like one."""

from __future__ import annotations

import math

from torch import nn


def check_flag(what: str, value: object) -> None:
    """Raises: ValueError: neither True nor False; 0, "no" and None would be taken for something."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} is True or False, got {value!r}")


def check_count(what: str, value: object, least: int = 1) -> None:
    """Raises: ValueError: no integer of at least ``least``; True is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} is an integer of at least {least}, got {value!r}")


def check_number(what: str, value: object) -> None:
    """Raises: ValueError: no finite real number; True is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, got {value!r}")


def check_model(what: str, model: object) -> None:
    """Raises: TypeError: no module, as a state is none."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{what}: a model (nn.Module) is expected, got {type(model).__name__}")
