"""What stores share: names flattened, points gathered to rows, files looked at without being stopped by one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..row import Row
from ..training_log import Notes

_LARGEST_CONFIG = 1 << 22


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, names joined with ``/``, in the order in which they are written."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [(str(key), value) for key, value in reversed(list(nested.items()))]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping) and value:
            waiting.extend((f"{name}/{key}", below) for key, below in reversed(list(value.items())))
        else:
            found[name] = value
    return found


def grouped(points: Iterable[tuple[float | None, str, Any]]) -> Iterator[Row]:
    """Rows out of points (step, name, value): neighbours of the same step are one row, a name twice begins another."""
    fields: dict[str, Any] = {}
    number, step = 0, None
    for at, name, value in points:
        if fields and (at != step or name in fields):
            number += 1
            yield Row(fields, number, step)
            fields = {}
        step = at
        fields[name] = value
    if fields:
        yield Row(fields, number + 1, step)


def printable(name: object) -> str:
    """A name for a message: what would move a terminal's cursor, and bytes that are no text, are replaced."""
    return "".join(c if c.isprintable() else "�" for c in str(name))


def is_regular(path: Path) -> bool:
    """Whether it is a file that can be read to its end: no folder, pipe, device or loop of links."""
    try:
        return path.is_file()
    except OSError:
        return False


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a regular file; none where it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as source:
            return source.read(count)
    except OSError:
        return b""


def entries(folder: Path, notes: Notes) -> list[Path]:
    """What a folder holds, in order of the names; nothing, and a note, where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        notes.add(f"a folder cannot be read: {error.strerror}", printable(folder.name))
        return []


def folders_in(folder: Path, notes: Notes) -> list[Path]:
    """The folders in a folder. Links to folders are left out: W&B's ``latest-run`` is a run that is there anyhow."""
    return [entry for entry in entries(folder, notes) if not entry.is_symlink() and os.path.isdir(entry)]


def yaml_mapping(file: Path, notes: Notes) -> dict[str, Any]:
    """A YAML file's mapping; empty where there is none, with a note where it is damaged."""
    if not is_regular(file):
        return {}
    try:
        with file.open("rb") as source:
            found = yaml.load(source.read(_LARGEST_CONFIG).decode(errors="replace"), _Loader)
    except Exception as error:  # PyYAML raises more than its own: IndexError of an empty `!!int`
        notes.add(f"a config cannot be read: {type(error).__name__}", printable(file.name))
        return {}
    if found is not None and not isinstance(found, dict):
        notes.add("a config is no mapping", printable(file.name))
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


# libyaml's is some ten times faster, and not in every build of PyYAML.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def values_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters of a ``config.yaml`` that says ``name: {desc, value}``, as W&B and SwanLab write it.

    W&B's own entries (``_wandb``, ``wandb_version``) are left out.
    """
    return {
        name: said["value"]
        for name, said in config.items()
        if isinstance(said, Mapping) and "value" in said and name not in ("_wandb", "wandb_version")
    }
