"""Text of the form ``name(knob=value)+name(value)``, read into names and knobs; nothing in it is ever executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .knobs import plain

# A quoted text, or one character.
_PIECE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|.""", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """One name of a recipe string and the knobs given to it, by name and by position."""

    name: str
    knobs: Mapping[str, Any]
    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={plain(value)!r}" for name, value in self.knobs.items())
        return f"{self.name}({inside})" if inside else self.name


def split(text: str) -> list[str]:
    """At every ``+`` outside brackets and quotes: ``1e+3`` and ``')'`` inside a knob stay whole.

    Raises:
        ValueError: brackets do not match.
    """
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if depth < 0:
            break
        if piece == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    if depth != 0:
        raise ValueError(f"recipe {text!r}: brackets do not match")
    return parts


def parse_part(
    part: str,
    text: str,
    what: str = "recipe",
    form: str = "base+intervention(knob=value), e.g. grpo+steer(min_weight=0.7)",
) -> Part:
    """One name and its knobs, out of a whole ``text`` that errors quote.

    Args:
        what: is written there. form: how it is written.

    Raises:
        ValueError: no name, unbalanced brackets, or knobs that are not ``name=literal``.
    """
    name, bracket, rest = part.strip().partition("(")
    name = name.strip()
    if not name or (bracket and not rest.rstrip().endswith(")")):
        raise ValueError(f"{what} {text!r}: cannot read the part {part.strip()!r}; write {form}")
    if not bracket:
        return Part(name, {})
    try:
        call = ast.parse(f"f({rest.rstrip()[:-1]})", mode="eval").body
        # Of `f(a=1)(b=2)` only the last brackets would be read.
        named = call.keywords if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else None
        if not isinstance(call, ast.Call) or named is None or any(k.arg is None for k in named):
            raise ValueError("not a list of knobs")
        if len({k.arg for k in named}) < len(named):
            raise ValueError("a knob stands twice")
        knobs = {str(k.arg): ast.literal_eval(k.value) for k in named}
        values = tuple(ast.literal_eval(value) for value in call.args)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{what} {text!r}: cannot read the knobs of {name!r}: {rest.rstrip()[:-1]!r} ({error}); "
            "write them as name=number, name=True or name='word'"
        ) from None
    return Part(name, knobs, values)
