"""A file of names: what one engine calls the quantities of a run, and where that was read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ..quantities import QUANTITIES, is_key

__all__ = ["EngineFile", "Metric", "parse"]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_FIELDS = {"engine", "title", "version", "sources", "known_by", "step", "metrics", "ignored", "fork_of", "own_only"}
# PyYAML's parser in C is ten times as fast, and not in every build of it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as an engine writes it.

    Attributes:
        pattern: its name, in which ``{family}``, ``{part}`` and ``{_}`` stand for one or more pieces of the path.
        key: the quantity, with the same ``{family}`` or ``{part}``.
        scale, offset: value * scale + offset is in the quantity's unit.
    """

    pattern: str
    key: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineFile:
    """The names of one engine.

    Attributes:
        engine: key. title: for print. version: what was read. sources: where each name was seen.
        known_by: sets of names; one that was written whole tells the engine.
        step: names of the step, best first.
        metrics: in order of preference where several are the same quantity.
        ignored: names, or patterns, that look like a quantity's and are none.
        fork_of: engines whose names it writes as well.
        own_only: whether its names mean this in its own logs alone.
    """

    engine: str
    title: str
    version: str
    sources: tuple[str, ...]
    known_by: tuple[frozenset[str], ...]
    step: tuple[str, ...]
    metrics: tuple[Metric, ...]
    ignored: tuple[str, ...]
    fork_of: tuple[str, ...]
    own_only: bool


def parse(text: str, where: str) -> EngineFile:
    """Reads a file of names.

    Raises:
        ValueError: it is no YAML mapping, a field is missing or of another type, a quantity does not exist.
    """
    try:
        given = yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: no YAML: {error}") from error
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: expected a mapping with engine, version, sources and metrics")
    if unknown := set(given) - _FIELDS:
        raise ValueError(f"{where}: unknown fields {sorted(map(str, unknown))}; known are {sorted(_FIELDS)}")
    metrics = given.get("metrics")
    if not isinstance(metrics, Mapping) or not metrics:
        raise ValueError(f"{where}: metrics: expected a mapping of names to quantities")
    engine = given.get("engine")
    if not isinstance(engine, str) or engine != engine.lower() or not engine:
        raise ValueError(f"{where}: engine: expected a key in lower case, got {engine!r}")
    return EngineFile(
        engine,
        str(given.get("title", engine)),
        str(given.get("version", "")),
        _texts(given, "sources", where),
        tuple(frozenset([e] if isinstance(e, str) else map(str, e)) for e in given.get("known_by", ())),
        _texts(given, "step", where),
        tuple(_metric(str(pattern), meant, where) for pattern, meant in metrics.items()),
        _texts(given, "ignored", where),
        _texts(given, "fork_of", where),
        given.get("own_only") is True,
    )


def _texts(given: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    texts = given.get(field, [])
    if not isinstance(texts, Sequence) or isinstance(texts, str) or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"{where}: {field}: expected a list of texts, got {texts!r}")
    return tuple(texts)


def _metric(pattern: str, meant: object, where: str) -> Metric:
    if isinstance(meant, Mapping):
        if unknown := set(meant) - {"quantity", "scale", "offset"}:
            raise ValueError(f"{where}: {pattern}: unknown fields {sorted(map(str, unknown))}")
        key, scale, offset = meant.get("quantity"), meant.get("scale", 1), meant.get("offset", 0)
    else:
        key, scale, offset = meant, 1, 0
    if not isinstance(key, str) or not is_key(key):
        raise ValueError(f"{where}: {pattern}: no quantity {key!r}; there are {', '.join(QUANTITIES)}")
    if not isinstance(scale, int | float) or not isinstance(offset, int | float) or not scale:
        raise ValueError(f"{where}: {pattern}: scale and offset are numbers, and scale is not 0")
    taken = set(_PLACEHOLDER.findall(pattern)) - {"_"}
    if taken - {"family", "part"} or set(_PLACEHOLDER.findall(key)) != taken:
        raise ValueError(f"{where}: {pattern}: name and quantity {key!r} must have the same {{family}} or {{part}}")
    return Metric(pattern, key, float(scale), float(offset))
