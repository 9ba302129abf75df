"""All that lies in one file or folder and can be read: recordings of metrics, and streams of completions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from . import stores
from .find import files_of
from .layout import ACCOUNT
from .readers.completions import completions_of
from .readers.json_completions import is_rollout_dump, jsonl_completions
from .readers.lines import json_objects
from .readers.parquet import parquet_completions
from .readers.trl import STATE, completion_tables, newest_state, state_recording
from .recording import Recording
from .shapes.sniff import rows_of
from .training_log import Completion, Notes

_PEEKED = 20
_JSON_LINES = (".jsonl", ".ndjson")
# How a folder of dumps begins that are none of what was trained on: verl's validation_data_dir.
_VALIDATION = ("val", "eval", "test")


@dataclass
class Found:
    """What was found.

    Attributes:
        recordings: of metrics. completions: openers of streams of them. kinds: what the completions were read from.
        account: the file of entropy accounts. parts: folders below that hold its dumps and nothing else.
    """

    recordings: list[Recording] = field(default_factory=list)
    completions: list[partial[Iterator[Completion]]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    account: Path | None = None
    parts: set[Path] = field(default_factory=set)


def found_in(where: Path, notes: Notes) -> Found:
    """Recognises a file, or every file of a folder and the folders of a run's parts below it.

    Raises:
        MissingExtraError: a file that was named needs a library that is not installed.
    """
    found = Found()
    if not where.is_dir():
        _add_file(where, found, notes)
        return found
    account = where / ACCOUNT
    found.account = account if account.exists() else None
    state = newest_state(where)
    if state is not None:
        _add(state_recording(state, notes), found)
    stored = stores.recordings_of(where, notes)
    found.recordings += stored
    tables = completion_tables(where) or [f for f in files_of(where) if f.suffix == ".parquet"]
    if tables:
        _add_completions("completions in parquet", partial(parquet_completions, tables, notes), found)
    for place, dumps in _rollout_dumps(where):
        if all(is_rollout_dump(file) for file in files_of(place)):
            found.parts.add(place)
        if place == where or not place.name.startswith(_VALIDATION):
            _add_completions("verl rollouts", partial(jsonl_completions, dumps, notes), found)
    for file in files_of(where):
        read = file.name in (ACCOUNT, STATE) or file.suffix == ".parquet" or is_rollout_dump(file)
        try:
            if not read and not stores.is_store(file):
                _add_file(file, found, notes)
        except OSError as error:
            notes.add(f"it cannot be read: {error.strerror}", file.name)
    return found


def _add_file(file: Path, found: Found, notes: Notes) -> None:
    if file.name == STATE:
        _add(state_recording(file, notes), found)
    elif stores.is_store(file):
        found.recordings += stores.recordings_of(file, notes)
    elif file.suffix == ".parquet":
        _add_completions("completions in parquet", partial(parquet_completions, [file], notes), found)
    else:
        rollouts = _first_rollouts(file)
        if any(rollouts):
            _add_completions("JSONL of rollouts", partial(jsonl_completions, [file], notes), found)
        if not rollouts or not all(rollouts):
            recording = rows_of(file, notes)
            _add(_without_rollouts(recording) if recording is not None and any(rollouts) else recording, found)


def _add(recording: Recording | None, found: Found) -> None:
    if recording is not None:
        found.recordings.append(recording)


def _add_completions(kind: str, stream: partial[Iterator[Completion]], found: Found) -> None:
    found.kinds.append(kind)
    found.completions.append(stream)


def _rollout_dumps(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """verl's dumps, ``<step>.jsonl``, in the folder itself or one below: the natural ``rollout_data_dir``."""
    try:
        below = sorted(d for d in folder.iterdir() if d.is_dir() and not d.is_symlink())
    except OSError:
        below = []
    for place in (folder, *below):
        dumps = sorted((f for f in files_of(place) if is_rollout_dump(f)), key=lambda f: int(f.stem))
        if dumps:
            yield place, dumps


def _first_rollouts(file: Path) -> list[bool]:
    """Of the first lines of JSON of a file whether they are completions."""
    if file.suffix not in _JSON_LINES:
        return []
    return [is_rollout(row) for _, row in islice(json_objects(file, Notes()), _PEEKED)]


def _without_rollouts(recording: Recording) -> Recording:
    rows = recording.rows
    return replace(recording, rows=lambda: (row for row in rows() if not is_rollout(dict(row.fields))))


def is_rollout(row: dict[str, Any]) -> bool:
    """Whether a JSON object is a completion."""
    try:
        return next(completions_of(row), None) is not None
    except (KeyError, TypeError, ValueError):
        return False
