"""Range checks for the knobs of recipes, with one form of error."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def plain(value: Any) -> Any:
    """A number of NumPy's as Python's own, which a recipe's string can say; anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "dtype") and not value.shape else value


def _plain_knob(owner: object, name: str) -> Any:
    """Knob ``name``, made plain where it stands; the owner may be frozen."""
    value = getattr(owner, name)
    if plain(value) is not value:
        value = plain(value)
        object.__setattr__(owner, name, value)
    return value


def check_range(
    owner: object,
    name: str,
    low: float,
    high: float = float("inf"),
    *,
    above: bool = False,
    optional: bool = False,
) -> None:
    """Raises `ValueError` unless knob ``name`` of ``owner`` is a finite number from ``low`` to ``high``.

    ``above``: ``low`` itself is out of range. ``optional``: None is allowed.
    """
    value = _plain_knob(owner, name)
    if value is None and optional:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    if not number or not (low < value if above else low <= value) or not value <= high:
        bracket = "(" if above else "["
        also = " or None" if optional else ""
        raise ValueError(f"{_name(owner)}: {name} must be a number in {bracket}{low:g}, {high:g}]{also}, got {value!r}")


def check_choice(owner: object, name: str, choices: Collection[str]) -> None:
    """Raises `ValueError` unless knob ``name`` of ``owner`` is one of ``choices``."""
    value = _plain_knob(owner, name)
    if value not in choices:
        raise ValueError(f"{_name(owner)}: {name} must be one of {sorted(choices)}, got {value!r}")


def check_bool(owner: object, name: str) -> None:
    """Raises `ValueError` unless knob ``name`` of ``owner`` is True or False."""
    value = _plain_knob(owner, name)
    if not isinstance(value, bool):
        raise ValueError(f"{_name(owner)}: {name} must be True or False, got {value!r}")


def _name(owner: object) -> str:
    return str(getattr(owner, "name", type(owner).__name__))
