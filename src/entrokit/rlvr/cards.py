"""The cards of all methods: what tests, benches and pages go through instead of lists of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .bases import BASES, card_of_base
from .card import Card
from .interventions import INTERVENTIONS, PRESETS


@dataclass(frozen=True)
class Method:
    """A name of recipe strings. ``kind``: base, intervention or preset. ``where``: the file that holds it, dotted."""

    name: str
    kind: str
    card: Card
    where: str


def methods() -> Mapping[str, Method]:
    """Every base, then every intervention, then every preset, by name; those of installed packages among them."""
    found = [Method(name, "base", card_of_base(name), BASES.where(name)) for name in BASES]
    for name, cls in INTERVENTIONS.items():
        if cls.card is not None:  # one that is registered for a while may have none
            found.append(Method(name, "intervention", cls.card, INTERVENTIONS.where(name)))
    found += [Method(name, "preset", preset.card, PRESETS.where(name)) for name, preset in PRESETS.items()]
    return {method.name: method for method in found}


def examples() -> list[str]:
    """The example recipes of all methods, each once."""
    return list(dict.fromkeys(example for method in methods().values() for example in method.card.examples))
