"""verl's console: ``step:3 - actor/entropy:0.41 - critic/score/mean:np.float64(0.5)`` anywhere in a line.

verl 0.9.1, verl/utils/tracking.py (``concat_dict_to_str``) and verl/utils/logger/aggregate_logger.py. Ray's prefix,
its colour codes and its ``[repeated 2x across cluster]`` may stand around it; forks that write ``step: 3 - loss: 0.5``
are read as well.
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .values import value_of

_STEP = re.compile(r"(?<![\w/])step:\s*(\d+)\s+-\s")
# The value of such a field holds colons of its own, or no more than text.
_FIELD = re.compile(r"\s*([^:]*(?::[^:\s]+)*?):\s*((?:np|numpy|torch|jnp)\.\w+\(.*|tensor\(.*|array\(.*)")
_NUMPY = "np.float64("
_REPEATED = " [repeated "


def begins(line: str) -> int | None:
    """Where the fields begin behind ``step:3 - ``; None in any other line."""
    if "step:" not in line:
        return None
    found = _STEP.search(line)
    return found.end() if found else None


def colon_dash(line: str, number: int = 1) -> Row | None:
    """The row of a line without colour codes; None where it is of another shape."""
    if "step:" not in line:
        return None
    found = _STEP.search(line)
    if not found:
        return None
    rest = line[found.end() :]
    if _REPEATED in rest:
        rest = rest[: rest.rfind(_REPEATED)]
    fields: dict[str, Any] = {}
    for part in rest.split(" - "):
        name, colon, value = part.rpartition(":")
        if not colon:
            continue
        try:
            fields[name.strip()] = float(value)
        except ValueError:
            _add_slowly(part, name, value, fields)
    return Row(fields, number, float(found[1])) if fields else None


def last_field(line: str) -> str | None:
    """Name of the last field, if that has a value; None where the line stops within a name."""
    name, colon, value = line.rpartition(" - ")[2].rpartition(":")
    return name.strip() if colon and value.strip() else None


def _add_slowly(part: str, name: str, value: str, fields: dict[str, Any]) -> None:
    # Half the values of numpy 2 are written so, and a pattern costs five times as much.
    if value.startswith(_NUMPY) and value.endswith(")"):
        try:
            fields[name.strip()] = float(value[len(_NUMPY) : -1])
            return
        except ValueError:
            pass
    if "(" in part and (wrapped := _FIELD.match(part)):
        name, value = wrapped[1], wrapped[2]
    if name.strip() and value.strip():
        fields[name.strip()] = value_of(value)
