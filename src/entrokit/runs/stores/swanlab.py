"""SwanLab's local files: ``swanlog/run-<date>-<id>/``, with ``run-<id>.swanlab`` or, before 0.8, ``backup.swanlab``.

Read from files of swanlab 0.10.3, 0.8.0 and 0.7.20, without SwanLab, whose own reader is not public and wants an older
protobuf than others do. All frame their records as `record_log` says; those of 0.7 are JSON, those since 0.8 are
messages (``swanlab/proto/swanlab/record/v1``), of which three numbers of fields matter. 0.7 writes both infinities as
``INF``: its minus infinity is read as what stands there. What SwanLab logs of the machine by itself
(``__swanlab__.…``) counts steps of its own, and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..columns import number_of
from ..reader import RunReadError
from ..recording import Recording
from ..row import Row
from ..training_log import Notes
from .record_log import FILE_HEADER, HEADER, records
from .shared import (
    entries,
    first_bytes,
    folders_in,
    grouped,
    printable,
    values_of,
    yaml_mapping,
)
from .wire import double, fields_of, inner, seconds, signed

SOURCE = "SwanLab's local file"
_IDENT, _MAGIC = b":SWL", 0xE1D6
_OF_MACHINE = "__swanlab__"
_START, _SCALAR = 10, 13  # fields of swanlab.record.v1.Record
_PEEKED = 200


@dataclass
class _Said:
    """What one record says: of the run, or one point."""

    run: str | None = None
    began: float | None = None
    point: tuple[float | None, str, Any] | None = None


def is_store(path: Path) -> bool:
    """Whether it is a ``.swanlab`` file of records, a run's folder of SwanLab, or a folder of those (``swanlog/``)."""
    try:
        if not path.is_dir():
            return first_bytes(path, 4) == _IDENT
        return bool(_files(path, Notes()))
    except OSError:
        return False


def recordings(path: Path, notes: Notes) -> list[Recording]:
    """The runs, a recording each, in the order in which they began. A row's step is the one given to ``log``.

    Raises:
        RunReadError: the file that was named is none of SwanLab's.
    """
    files = _files(path, notes) if path.is_dir() else [path]
    if not path.is_dir() and first_bytes(path, 1) and not _is_ours(path):
        raise RunReadError(f"{printable(path)} is no file of SwanLab's: it does not begin with its signature")
    found = [recording for file in files if (recording := _recording(file, notes)) is not None]
    return sorted(found, key=lambda r: (r.began is None, r.began or 0.0, str(r.where)))


def _files(path: Path, notes: Notes) -> list[Path]:
    """Files of records in the folder, in its runs' folders, or in its ``swanlog``."""
    # SwanLab's dashboard keeps a database, runs.swanlab, beside the runs: the signature tells.
    own = [entry for entry in entries(path, notes) if entry.suffix == ".swanlab" and first_bytes(entry, 4) == _IDENT]
    if own:
        return own
    runs = [folder for folder in folders_in(path, notes) if folder.name.startswith("run-")]
    below = [file for folder in runs for file in _files(folder, notes)] if path.name[:4] != "run-" else []
    inner = path / "swanlog"
    return below or (_files(inner, notes) if path.name != "swanlog" and inner.is_dir() else [])


def _is_ours(file: Path) -> bool:
    head = first_bytes(file, FILE_HEADER.size)
    return len(head) == FILE_HEADER.size and FILE_HEADER.unpack(head)[:2] == (_IDENT, _MAGIC)


def _recording(file: Path, notes: Notes) -> Recording | None:
    if not _is_ours(file):
        notes.add("a .swanlab file is empty, or does not begin with SwanLab's signature", printable(file.name))
        return None
    first = first_bytes(file, FILE_HEADER.size + HEADER.size + 1)[FILE_HEADER.size + HEADER.size :]
    decode: Callable[[bytes], _Said] = _from_json if first == b"{" else _from_message
    config = values_of(yaml_mapping(file.parent / "files" / "config.yaml", notes))
    run: str | None = None
    began: float | None = None
    for said in islice(_said(file, decode, Notes()), _PEEKED):
        run, began = run or said.run, began or said.began
    return Recording(SOURCE, file, partial(_rows, file, decode, notes), config, run, began)


def _rows(file: Path, decode: Callable[[bytes], _Said], notes: Notes) -> Iterator[Row]:
    points = (said.point for said in _said(file, decode, notes) if said.point is not None)
    return grouped(point for point in points if not point[1].startswith(_OF_MACHINE))


def _said(file: Path, decode: Callable[[bytes], _Said], notes: Notes) -> Iterator[_Said]:
    try:
        for raw in records(file, notes):
            try:
                yield decode(raw)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                notes.add("a record is none of SwanLab's and is left out", printable(file.name))
    except OSError as error:
        notes.add(f"a .swanlab file cannot be read: {error.strerror}", printable(file.name))


def _from_json(raw: bytes) -> _Said:
    record = json.loads(raw)
    kind, data = record["model_type"], record["data"]
    if kind == "Scalar":
        return _Said(point=(number_of(data["step"]), str(data["key"]), data["metric"]["data"]))
    if kind == "Experiment":
        return _Said(run=str(data["name"] or data["id"]))
    if kind == "Header":
        return _Said(began=datetime.fromisoformat(data["create_time"]).timestamp())
    return _Said()


def _from_message(raw: bytes) -> _Said:
    record = fields_of(raw)
    if _SCALAR in record:
        scalar = fields_of(inner(record, _SCALAR))
        key, value = inner(scalar, 1).decode(), fields_of(inner(scalar, 5))
        return _Said(point=(float(signed(scalar, 2)), key, double(value, 1)))
    if _START in record:
        start = fields_of(inner(record, _START))
        run = (inner(start, 4) or inner(start, 10)).decode()
        return _Said(run, seconds(inner(start, 12)) if 12 in start else None)
    return _Said()
