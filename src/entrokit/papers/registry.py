"""Every paper of the library, found in its shelf, and how to find one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from entrokit.discovery import Discovered, Found, by_name, modules_of

from .paper import Paper


def _own() -> Mapping[str, Found[Paper]]:
    return by_name(_entries())


def _entries() -> Iterator[tuple[str, Found[Paper]]]:
    entries = [
        (entry.slug, Found(entry, module.__name__))
        for shelf in modules_of(__package__)
        if hasattr(shelf, "__path__")
        for module in modules_of(shelf.__name__)
        for entry in [_entry_of(module)]
    ]
    yield from sorted(entries, key=lambda e: e[0])


def _entry_of(module: Any) -> Paper:
    entry = getattr(module, "PAPER", None)
    if not isinstance(entry, Paper):
        raise TypeError(f"{module.__name__}: ends in no PAPER; a file that is no entry begins with an underscore")
    return entry


def _accept(given: Any) -> Mapping[str, Found[Paper]]:
    entry = given if isinstance(given, Paper) else _entry_of(given)
    return {entry.slug: Found(entry, entry.run.__module__ if hasattr(entry, "run") else entry.slug)}


CATALOGUE: Discovered[Paper] = Discovered(_own, "entrokit.papers", _accept)
"""Every entry by slug: ours in order of slug, then those of installed packages (entry points ``entrokit.papers``)."""


def paper(slug: str) -> Paper:
    """The paper of a slug.

    Raises:
        ValueError: there is none; the message lists the slugs.
    """
    try:
        return CATALOGUE[slug]
    except KeyError:
        raise ValueError(f"no paper {slug!r} in the catalogue; it holds {', '.join(CATALOGUE)}") from None


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
