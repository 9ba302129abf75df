"""Which engine wrote a log, from the names in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .engine_file import EngineFile
from .forms import Forms, forms_of, stripped
from .index import Index

__all__ = ["engine_of"]

# Without a name that is one engine's alone: so many must be its own, and so many more than any other's.
_FEWEST, _AHEAD = 4, 2


def engine_of(written: Iterable[str], engines: Mapping[str, EngineFile], indices: Mapping[str, Index]) -> str | None:
    """The engine whose names were written; None where they do not tell."""
    forms = [f for name in dict.fromkeys(written) if (f := forms_of(name)) is not None]
    names = {form.lower() for f in forms for form in f.strict}
    hits = {engine: _known(file, names) for engine, file in engines.items()}
    hits = {engine: n for engine, n in hits.items() if n}
    # A fork writes the names of what it was made from as well, and those do not speak against it.
    bases = {base for engine in hits for base in engines[engine].fork_of}
    left = {engine: n for engine, n in hits.items() if engine not in bases}
    best = [engine for engine, n in left.items() if n == max(left.values())]
    if len(best) == 1:
        return best[0]
    return _by_share(forms, best or list(engines), engines, indices)


def _known(file: EngineFile, names: set[str]) -> int:
    return sum(
        all(name.lower() in names or stripped(name.lower()) in names for name in together) for together in file.known_by
    )


def _by_share(
    forms: list[Forms], among: list[str], engines: Mapping[str, EngineFile], indices: Mapping[str, Index]
) -> str | None:
    own = {engine: sum(_has(indices[engine], f) for f in forms) for engine in among}
    ranked = sorted(own, key=lambda engine: (-own[engine], len(engines[engine].fork_of), engine))
    if not ranked or own[ranked[0]] < _FEWEST:
        return None
    first = ranked[0]
    rivals = [e for e in ranked[1:] if first not in engines[e].fork_of]
    return first if not rivals or own[first] - own[rivals[0]] >= _AHEAD else None


def _has(index: Index, forms: Forms) -> bool:
    hit = index.strict(forms)
    return hit is not None and hit.metric is not None
