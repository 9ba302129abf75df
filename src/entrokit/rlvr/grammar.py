"""Recipe strings: ``base(knob=value)+intervention(knob=value)+...``, with errors that say what would be right.

Interventions also take their knobs by position, as their classes do: ``forking-tokens(0.2)``.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .base import Base
from .bases import BASES
from .intervention import Intervention
from .interventions import INTERVENTIONS, PRESETS
from .knobs import plain

T = TypeVar("T")

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


def parse(text: str) -> list[Part]:
    """The parts of a recipe string.

    Raises:
        ValueError: an empty part, unbalanced brackets, or knobs that are not ``name=literal``.
    """
    first, *rest = [_parse_part(part, text) for part in _split(text)]
    preset = PRESETS.get(first.name.replace("_", "-"))
    if preset is None:
        return [first, *rest]
    if first.knobs or first.values:
        raise ValueError(
            f"recipe {text!r}: {first.name} takes no knobs; it stands for {preset.recipe!r}, which you can change"
        )
    return [*parse(preset.recipe), *rest]


def build_base(part: Part) -> Base:
    """The base that a part names; `ValueError` with the valid names and the nearest match otherwise."""
    factory = _lookup(part.name.replace("-", "_"), BASES, "base", INTERVENTIONS)
    return factory(**_knobs_of(part, factory))


def build_intervention(part: Part) -> Intervention:
    """The intervention that a part names; `ValueError` with the valid names and the nearest match otherwise."""
    cls = _lookup(part.name.replace("_", "-"), INTERVENTIONS, "intervention", BASES)
    return cls(**_knobs_of(part, cls))


def _split(text: str) -> list[str]:
    """At every ``+`` outside brackets and quotes: ``1e+3`` and ``')'`` inside a knob stay whole."""
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


def _parse_part(part: str, text: str) -> Part:
    name, bracket, rest = part.strip().partition("(")
    name = name.strip()
    if not name or (bracket and not rest.rstrip().endswith(")")):
        raise ValueError(
            f"recipe {text!r}: cannot read the part {part.strip()!r}; "
            "write base+intervention(knob=value), e.g. grpo+steer(min_weight=0.7)"
        )
    if not bracket:
        return Part(name, {})
    try:
        call = ast.parse(f"f({rest.rstrip()[:-1]})", mode="eval").body
        if not isinstance(call, ast.Call) or any(k.arg is None for k in call.keywords):
            raise ValueError("not a list of knobs")
        knobs = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        values = tuple(ast.literal_eval(value) for value in call.args)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"recipe {text!r}: cannot read the knobs of {name!r}: {rest.rstrip()[:-1]!r} ({error}); "
            "write them as name=number, name=True or name='word'"
        ) from None
    return Part(name, knobs, values)


def _lookup(name: str, known: Mapping[str, Callable[..., T]], kind: str, other: Mapping[str, Any]) -> Callable[..., T]:
    if name in known:
        return known[name]
    swapped = {n.replace("-", "_"): n for n in other}
    if name.replace("-", "_") in swapped:
        rule = "comes first" if kind == "base" else "is followed by interventions"
        raise ValueError(f"recipe: {name!r} cannot stand there; a recipe's base {rule}, e.g. grpo+steer")
    broken = [str(b) for b in getattr(known, "broken", ()) if b.name.replace("_", "-") == name]
    if broken:
        raise ValueError(f"recipe: {name!r} is a plug-in that could not be loaded: {broken[0]}")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"recipe: unknown {kind} {name!r}{hint} Valid names: {', '.join(known)}")


def _knobs_of(part: Part, target: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(target).parameters
    by_position = [n for n, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if len(part.values) > len(by_position):
        allowed = f"at most {len(by_position)} knobs" if by_position else "no knob"
        raise ValueError(f"recipe: {part.name} takes {allowed} by position; write name=value ({', '.join(parameters)})")
    placed = dict(zip(by_position, part.values, strict=False))
    for knob in part.knobs:
        if knob in placed:
            raise ValueError(f"recipe: {part.name} is given {knob} twice, by position and by name")
        if knob not in parameters:
            near = difflib.get_close_matches(knob, parameters, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"recipe: {part.name} has no knob {knob!r}{hint} Valid knobs: {', '.join(parameters) or 'none'}"
            )
    return placed | dict(part.knobs)
