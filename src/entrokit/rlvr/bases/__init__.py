"""The base names of recipes, found here: each file holds one whole set of choices.

To add one, write a file of its name with a function of its name, whose keyword arguments are its knobs, and a ``CARD``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

from entrokit.discovery import Discovered, Found, by_name, modules_of

from ..base import Base
from ..card import Card

__all__ = ["BASES", "Base", "card_of_base"]


def _own() -> Mapping[str, Found[Callable[..., Base]]]:
    return by_name(_factories())


def _factories() -> Iterator[tuple[str, Found[Callable[..., Base]]]]:
    for module in modules_of(__name__):
        name = module.__name__.rpartition(".")[2]
        factory, card = getattr(module, name, None), getattr(module, "CARD", None)
        if not callable(factory) or not isinstance(card, Card):
            raise TypeError(f"{module.__name__}: a base's file holds a function {name!r} and a CARD")
        yield name, Found(factory, module.__name__)


BASES: Discovered[Callable[..., Base]] = Discovered(_own)
"""Factories of every base, by name."""


def card_of_base(name: str) -> Card:
    """What is said of a base outside its code."""
    card: Card = import_module(BASES.where(name)).CARD
    return card
