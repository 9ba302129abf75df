"""Recipe strings: ``base(knob=value)+intervention(knob=value)+...``, with errors that say what would be right.

Interventions also take their knobs by position, as their classes do: ``forking-tokens(0.2)``.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .base import Base
from .bases import BASES
from .intervention import Intervention
from .interventions import INTERVENTIONS, PRESETS
from .parts import Part, parse_part, split

T = TypeVar("T")


def parse(text: str) -> list[Part]:
    """The parts of a recipe string.

    Raises:
        ValueError: an empty part, unbalanced brackets, or knobs that are not ``name=literal``.
    """
    first, *rest = [parse_part(part, text) for part in split(text)]
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
    factory = _lookup(part.name, part.name.replace("-", "_"), BASES, "base", INTERVENTIONS)
    return factory(**_knobs_of(part, factory))


def build_intervention(part: Part) -> Intervention:
    """The intervention that a part names; `ValueError` with the valid names and the nearest match otherwise."""
    cls = _lookup(part.name, part.name.replace("_", "-"), INTERVENTIONS, "intervention", BASES)
    return cls(**_knobs_of(part, cls))


def _lookup(
    written: str, name: str, known: Mapping[str, Callable[..., T]], kind: str, other: Mapping[str, Any]
) -> Callable[..., T]:
    if name in known:
        return known[name]
    swapped = {n.replace("-", "_"): n for n in other}
    if name.replace("-", "_") in swapped:
        rule = "comes first" if kind == "base" else "is followed by interventions"
        raise ValueError(f"recipe: {written!r} cannot stand there; a recipe's base {rule}, e.g. grpo+steer")
    broken = [str(b) for b in getattr(known, "broken", ()) if b.name.replace("_", "-") == name]
    if broken:
        raise ValueError(f"recipe: {written!r} is a plug-in that could not be loaded: {broken[0]}")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"recipe: unknown {kind} {written!r}{hint} Valid names: {', '.join(known)}")


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
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(
                f"recipe: {part.name} has no knob {knob!r}{hint} Valid knobs: {', '.join(parameters) or 'none'}"
            )
    return placed | dict(part.knobs)
