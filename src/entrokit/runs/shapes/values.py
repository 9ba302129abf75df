"""What stands behind a name: a number in any of the ways that loggers write one, or a text."""

from __future__ import annotations

import re
from typing import Any

# np.float64(0.3), numpy.float32(1), tensor(0.5, device='cuda:0'), array(2.)
_WRAPPED = re.compile(r"(?:np\.|numpy\.|torch\.|jnp\.)?(?:\w+)\(\s*\[?\s*([-+]?[\w.+-]+?)\s*\]?\s*(?:,[^()]*)?\)")
# 12.3s, 1.23GiB(4.5%), 1,024 tokens/s: one number, then a unit without a digit, then what is in brackets.
_WITH_UNIT = re.compile(
    r"([-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*(%|[A-Za-zµ][^\d\s()]*)?\s*(?:\([^()]*\))?"
)
_WORDS: dict[str, Any] = {"None": None, "null": None, "True": True, "False": False, "true": True, "false": False}


def value_of(text: str) -> Any:
    """A number where the text is one (``nan`` and ``inf`` are), a bool or None where it says so, else the text."""
    try:
        return float(text)
    except ValueError:
        pass
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    if text.endswith(")") and (wrapped := _WRAPPED.fullmatch(text)):
        try:
            return float(wrapped[1])
        except ValueError:
            return _WORDS.get(wrapped[1], text)
    return text


def value_with_unit(text: str) -> Any:
    """As `value_of`, where people are meant to read it: ``12.3s`` is 12.3, ``1,024`` is 1024, ``3.1%`` is 0.031."""
    value = value_of(text)
    if not isinstance(value, str) or len(value) > 80:
        return value
    found = _WITH_UNIT.fullmatch(value)
    if not found or not any(c.isdigit() for c in found[1]):
        return value
    try:
        number = float(found[1].replace(",", ""))
    except ValueError:
        return value
    return number / 100 if found[2] == "%" else number


def is_number(value: Any) -> bool:
    """Whether a field is a number, or a text that is one (newer transformers print ``'loss': '0.01'``)."""
    if type(value) is float:
        return True
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool)
