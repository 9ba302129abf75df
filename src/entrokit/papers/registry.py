"""Every paper of the library, found in its shelf, and how to find one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from entrokit.discovery import Discovered, Found, by_name, modules_of

from .entry import Paper

GROUP = "entrokit.papers"


def _own() -> Mapping[str, Found[Paper]]:
    entries = [(module, _entry_of(module)) for shelf in _shelves() for module in modules_of(shelf)]
    ordered = sorted(entries, key=lambda each: each[1].slug)
    return by_name((entry.slug, Found(entry, module.__name__)) for module, entry in ordered)


def _shelves() -> Iterator[str]:
    assert __package__ is not None
    here = import_module(__package__).__path__
    return (f"{__package__}.{found.name}" for found in iter_modules(here) if found.ispkg)


def _entry_of(module: ModuleType) -> Paper:
    entry = getattr(module, "PAPER", None)
    if not isinstance(entry, Paper):
        raise TypeError(f"{module.__name__}: ends in no PAPER; a file that is no entry begins with an underscore")
    return entry


def _accept(given: Any) -> Mapping[str, Found[Paper]]:
    entry = _entry_of(given) if isinstance(given, ModuleType) else given
    if not isinstance(entry, Paper):
        raise TypeError(f"{given!r} is neither a Paper nor a module that ends in a PAPER")
    _, first = entry.experiment()
    return {entry.slug: Found(entry, getattr(first.run, "__module__", entry.slug))}


CATALOGUE: Discovered[Paper] = Discovered(_own, GROUP, _accept)
"""Every entry by slug: ours in order of slug, then those of installed packages (entry points ``entrokit.papers``)."""


def paper(slug: str) -> Paper:
    """The paper of a slug.

    Raises:
        ValueError: there is none; the message lists the slugs, or says why a plug-in of that name is not there.
    """
    if slug in CATALOGUE:
        return CATALOGUE[slug]
    broken = [str(b) for b in CATALOGUE.broken if b.name.replace("_", "-") == slug.replace("_", "-")]
    if broken:
        raise ValueError(f"the paper {slug!r} is a plug-in that could not be loaded: {broken[0]}")
    near = get_close_matches(slug, CATALOGUE, n=1) or [entry.slug for entry in search([slug])][:1]
    hint = f"did you mean {near[0]!r}? It" if near else "it"
    raise ValueError(f"no paper {slug!r} in the catalogue; {hint} holds {', '.join(CATALOGUE)}")


def search(words: Sequence[str] = (), family: str | None = None) -> list[Paper]:
    """Papers that hold every word, in order of slug; ``family`` matches the start of the family's name.

    Raises:
        ValueError: a family that no paper has.
    """
    entries = CATALOGUE.values()
    families = sorted({p.family for p in entries})
    if family is not None and not any(f.startswith(family) for f in families):
        raise ValueError(f"no family {family!r}; there are {', '.join(families)}")
    return [p for p in entries if p.matches(words) and p.family.startswith(family or "")]
