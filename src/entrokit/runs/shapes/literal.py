"""A Python dict or JSON object within a text, read by hand: nothing is evaluated, whatever stands there.

Bare ``nan``, ``inf``, ``Infinity``, ``None``, ``null``, ``np.float64(0.3)`` and ``tensor(0.5, device='cuda:0')`` are
read, as loggers print them without quotes.
"""

from __future__ import annotations

import re
from typing import Any

from .values import value_of

# Deeper than any logger nests; without a limit 64 KiB of brackets would exhaust the stack.
DEEPEST = 24
NOT_CLOSED = "it is not closed"

_SPACE = re.compile(r"\s*")
_STRING = re.compile(r"""[bruf]?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""", re.DOTALL)
_BARE = re.compile(r"[^,\[\]{}()'\"]+")
_BARE_KEY = re.compile(r"[^,:\[\]{}()'\"]+")
_PAIR = re.compile(r"""\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*:\s*([-+]?[\w.+-]+|'[^'\\]*'|"[^"\\]*")\s*([,}])""")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class NotLiteralError(ValueError):
    """A text is no dict as Python or JSON write one."""


def read_dict(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The dict that begins with the brace at ``start``, and where it ends.

    Raises:
        NotLiteralError: it is none, is not closed, or nests more than `DEEPEST` deep.
    """
    return _dict(text, start, 0)


def _dict(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    if depth > DEEPEST:
        raise NotLiteralError("nested too deep")
    found: dict[str, Any] = {}
    at += 1
    while True:
        # Nearly all that is ever printed is a name and a number; the rest takes the long way.
        while pair := _PAIR.match(text, at):
            single, double, value, end = pair.groups()
            name = double if single is None else single
            try:
                found[name] = float(value)
            except ValueError:
                found[name] = value[1:-1] if value[0] in "'\"" else value_of(value)
            at = pair.end()
            if end == "}":
                return found, at
        at = _skip(text, at)
        if text[at] == "}":
            return found, at + 1
        key, at = _value(text, at, depth, key=True)
        at = _skip(text, at)
        if text[at] != ":" or isinstance(key, (dict, list)):
            raise NotLiteralError("a key without a value")
        found[str(key)], at = _value(text, _skip(text, at + 1), depth)
        at = _skip(text, at)
        if text[at] == ",":
            at += 1
        elif text[at] != "}":
            raise NotLiteralError("neither a comma nor the end behind a value")


def _value(text: str, at: int, depth: int, key: bool = False) -> tuple[Any, int]:
    first = text[at]
    if first == "{":
        return _dict(text, at, depth + 1)
    if first in "[(":
        return _list(text, at, depth + 1)
    if string := _STRING.match(text, at):
        raw = string[2] if string[1] is None else string[1]
        return _ESCAPE.sub(r"\1", raw) if "\\" in raw else raw, string.end()
    bare = (_BARE_KEY if key else _BARE).match(text, at)
    if not bare:
        raise NotLiteralError(NOT_CLOSED if first in "'\"" else "no value")
    if not key and text[bare.end() : bare.end() + 1] == "(":
        inner, at = _list(text, bare.end(), depth + 1)
        return inner[0] if inner else None, at
    return bare[0].strip() if key else value_of(bare[0]), bare.end()


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    if depth > DEEPEST:
        raise NotLiteralError("nested too deep")
    close, found = {"[": "]", "(": ")"}[text[at]], []
    at = _skip(text, at + 1)
    while text[at] != close:
        value, at = _value(text, at, depth)
        at = _skip(text, at)
        # device='cuda:0' within tensor(…)
        if isinstance(value, str) and value.rstrip().endswith("="):
            value, at = _value(text, at, depth)
            at = _skip(text, at)
        found.append(value)
        if text[at] == ",":
            at = _skip(text, at + 1)
        elif text[at] != close:
            raise NotLiteralError("neither a comma nor the end behind a value")
    return found, at + 1


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    at = space.end() if space else at
    if at >= len(text):
        raise NotLiteralError(NOT_CLOSED)
    return at


_BY_POSITION, _MOST_POSITIONS = "position", 64


def flattened(nested: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A dict with nested names joined by ``/``, and the names of the lists that were left out: a list is no number.

    A list of one number is that number; one by position (``kl_positional``) has a name for each place.
    """
    if not any(isinstance(value, (dict, list)) for value in nested.values()):
        return nested, []
    flat: dict[str, Any] = {}
    lists: list[str] = []
    waiting = [("", nested, 0)]
    while waiting:
        prefix, mapping, depth = waiting.pop()
        for key, value in mapping.items():
            name = f"{prefix}{key}"
            while isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, dict):
                if depth < DEEPEST:
                    waiting.append((f"{name}/", value, depth + 1))
                else:
                    lists.append(name)
            elif isinstance(value, list) and _BY_POSITION in str(key) and len(value) <= _MOST_POSITIONS:
                waiting.append((f"{name}/", {str(i): one for i, one in enumerate(value)}, depth + 1))
            elif isinstance(value, list):
                lists.append(name)
            else:
                flat[name] = value
    return flat, lists
