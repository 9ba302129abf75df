"""Cells of a table as numbers, in the ways that spreadsheets of several countries write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .values import value_of

_MISSING = frozenset(("", "-", "—", "–", "NA", "N/A", "n/a", "null", "None", "<NA>"))
_COMMA = re.compile(r"[-+−]?\d*,\d+(?:[eE][-+]?\d+)?%?")
_DECIMAL_COMMA = re.compile(r"[-+−]?(?:0?,\d+|\d+,(?:\d{1,2}|\d{4,})|\d{1,3}(?:\.\d{3})+,\d+|\d+,\d+[eE][-+]?\d+)%?")
_DECIMAL_POINT = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+\.\d*|\d*\.\d+(?:[eE][-+]?\d+)?)%?")
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:([,.'\u00a0\u202f\u2009 ])\d{3})(?:\1\d{3})*")


# 1.000 and 1.000.000, where a comma parts the decimals; 0.123 is none.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")


def uses_decimal_comma(cells: Iterable[str], delimiter: str) -> bool:
    """Whether ``0,3071`` is a number below one here.

    A cell that can be nothing else decides; where all could be thousands (``1,024``), a table with semicolons is taken
    as one of a country that writes a comma for the point, and any other is not.
    """
    ambiguous = False
    for cell in cells:
        cell = cell.strip()
        if delimiter == ";" and _THOUSANDS.fullmatch(cell):
            continue
        if _DECIMAL_COMMA.fullmatch(cell):
            return True
        if _DECIMAL_POINT.fullmatch(cell):
            return False
        ambiguous = ambiguous or bool(_COMMA.fullmatch(cell))
    return ambiguous and delimiter == ";"


def cell_value(cell: str, decimal_comma: bool = False) -> Any:
    """A cell's number, bool or text; None where the cell is empty or says that it is.

    ``12%`` is 0.12, ``1,024`` is 1024 (or 1.024 with ``decimal_comma``); ``nan`` and ``inf`` are numbers.
    """
    if decimal_comma and _THOUSANDS.fullmatch(cell.strip()):
        return float(cell.replace(".", ""))
    try:
        return float(cell)
    except ValueError:
        pass
    text = cell.strip().strip("\"'").strip()
    if text in _MISSING:
        return None
    number = _number(text.removesuffix("%").rstrip().replace("−", "-"), decimal_comma)
    if number is None:
        return value_of(text)
    return number / 100 if text.endswith("%") else number


def either_value(cell: str) -> Any:
    """A cell's number by either convention, before it is known which holds."""
    value = cell_value(cell)
    return cell_value(cell, True) if isinstance(value, str) and "," in cell else value


def _number(text: str, decimal_comma: bool) -> float | None:
    if len(text) > 400:
        return None
    if decimal_comma:
        whole, comma, part = text.partition(",")
        if grouped := _GROUPED.fullmatch(whole):
            whole = whole.replace(grouped[1], "")
        text = f"{whole}.{part}" if comma else whole
    else:
        whole, point, part = text.partition(".")
        grouped = _GROUPED.fullmatch(whole)
        if grouped and grouped[1] != ".":
            whole = whole.replace(grouped[1], "")
        text = f"{whole}{point}{part}"
    try:
        return float(text)
    except ValueError:
        return None
