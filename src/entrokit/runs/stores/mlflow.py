"""mlflow's local stores, read without mlflow: folders ``mlruns/<experiment>/<run>``, and the database ``mlflow.db``.

Read from stores of mlflow 3.17.2. In a folder a metric is a file, ``metrics/<name>`` (names with ``/`` are folders),
of lines ``milliseconds value step``; lines of older versions have no step. The database holds NaN as 0 with a flag,
and an infinity as the largest number that a double has.
"""

from __future__ import annotations

import heapq
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..columns import number_of
from ..reader import RunReadError
from ..recording import Recording
from ..row import Row
from ..training_log import Notes
from .shared import first_bytes, folders_in, grouped, is_regular, printable, yaml_mapping
from .sqlite import columns_of, databases_in, has_tables, opened

SOURCE, _DATABASE = "mlflow's folder", "mlflow's database"
_TABLES = {
    "runs": frozenset({"run_uuid", "name", "start_time", "lifecycle_stage"}),
    "metrics": frozenset({"key", "value", "timestamp", "run_uuid", "step"}),
}
_LINE = re.compile(rb"-?\d+ [-+.\w]+( -?\d+)?\s")
_NOT_RUNS = {".trash", "models", "traces", "datasets", "artifacts"}
_LOOKED_AT = 100
_CHUNK = 1 << 11
_LONGEST_VALUE = 1 << 16

_Point = tuple[float, float | None, str, float]  # milliseconds, step, name, value


def is_store(path: Path) -> bool:
    """Whether it is mlflow's database, a run's folder, its ``metrics``, or a folder of runs or of experiments."""
    try:
        if not path.is_dir():
            return has_tables(path, _TABLES)
        quiet = Notes()
        return next(_run_folders(path, quiet), None) is not None or any(
            has_tables(file, _TABLES) for file in databases_in(path, quiet)
        )
    except OSError:
        return False


def recordings(path: Path, notes: Notes) -> list[Recording]:
    """The runs, a recording each, in the order in which they began. Deleted ones are left out, and noted.

    A row is what was logged at one step, in the order of time.

    Raises:
        RunReadError: the file that was named cannot be read.
    """
    if not path.is_dir():
        return _distinct(_of_database(path, notes))
    found = [run for folder in _run_folders(path, notes) if (run := _of_folder(folder, notes)) is not None]
    for file in databases_in(path, notes):
        if has_tables(file, _TABLES):
            try:
                found += _of_database(file, notes)
            except RunReadError as error:
                notes.add(f"a database is left out: {error}", printable(file.name))
    return _distinct(found)


def _distinct(found: list[tuple[Recording, str]]) -> list[Recording]:
    """In order of time; names that several runs have get the beginning of their id."""
    count = Counter(run.run for run, _ in found)
    unique = [
        run
        if count[run.run] == 1
        else Recording(run.source, run.where, run.rows, run.config, f"{run.run} ({identity[:8]})", run.began)
        for run, identity in found
    ]
    return sorted(unique, key=lambda r: (r.began is None, r.began or 0.0))


def _run_folders(path: Path, notes: Notes) -> Iterator[Path]:
    """Folders of runs: the path itself, or those in it, in its experiments, or in its ``mlruns``."""
    if path.name == "metrics" and _holds_points(path):
        yield path
        return
    if _is_run(path):
        yield path
        return
    inner = path / "mlruns"
    for folder in folders_in(inner if inner.is_dir() else path, notes):
        if folder.name in _NOT_RUNS:
            continue
        if _is_run(folder):
            yield folder
        elif is_regular(folder / "meta.yaml") or folder.name.isdigit():
            yield from (run for run in folders_in(folder, notes) if run.name not in _NOT_RUNS and _is_run(run))


def _is_run(folder: Path) -> bool:
    meta = first_bytes(folder / "meta.yaml", 1 << 14)
    return b"run_id:" in meta or b"run_uuid:" in meta or _holds_points(folder / "metrics")


def _holds_points(folder: Path) -> bool:
    """Whether the first file below looks like a metric of mlflow's."""
    first = next((f for f in islice(_files(folder, Notes()), _LOOKED_AT) if is_regular(f)), None)
    return first is not None and _LINE.match(first_bytes(first, 256) + b"\n") is not None


def _files(folder: Path, notes: Notes) -> Iterator[Path]:
    """Files below a folder, in order of the names; links to folders are not followed."""

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            notes.add(f"a folder cannot be read: {error.strerror}", printable(error.filename))

    for below, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        yield from (Path(below, name) for name in sorted(files))


def _of_folder(folder: Path, notes: Notes) -> tuple[Recording, str] | None:
    meta = {} if folder.name == "metrics" else yaml_mapping(folder / "meta.yaml", notes)
    identity = str(meta.get("run_id") or meta.get("run_uuid") or folder.name)
    if meta.get("lifecycle_stage") == "deleted":
        notes.add("runs that were deleted in mlflow are left out", printable(identity))
        return None
    metrics = folder if folder.name == "metrics" else folder / "metrics"
    name = meta.get("run_name") or _text(folder / "tags" / "mlflow.runName")
    config = {
        file.relative_to(folder / "params").as_posix(): _text(file)
        for file in _files(folder / "params", notes)
        if is_regular(file)
    }
    run = str(name or (identity if meta else folder.resolve().parent.name if folder == metrics else folder.name))
    return Recording(SOURCE, folder, partial(_rows, metrics, notes), config, run, _seconds(meta.get("start_time"))), (
        identity
    )


def _rows(metrics: Path, notes: Notes) -> Iterator[Row]:
    streams = []
    for file in _files(metrics, notes):
        if is_regular(file):
            streams.append(_points(file, file.relative_to(metrics).as_posix(), notes))
        else:
            notes.add("what is no file that can be read is left out", printable(file.name))
    return grouped((step, name, value) for _, step, name, value in heapq.merge(*streams, key=_when))


def _when(point: _Point) -> tuple[float, float]:
    return point[0], -math.inf if point[1] is None else point[1]


def _points(file: Path, name: str, notes: Notes) -> Iterator[_Point]:
    """Points of one metric. The file is open only while a piece of it is read: a run may have 10⁴ of them."""
    offset, rest, number = 0, b"", 0
    while True:
        try:
            with file.open("rb") as source:
                source.seek(offset)
                piece = source.read(_CHUNK)
        except OSError as error:
            notes.add(f"a metric's file cannot be read: {error.strerror}", printable(name))
            return
        offset += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LONGEST_VALUE:
            notes.add("a metric's file has no lines and is left out", printable(name))
            return
        if not piece and rest:
            # mlflow ends every line: without its end a number may have lost digits.
            notes.add("a last line without its end is left out (cut off, or still being written)", printable(name))
        for line in lines:
            number += 1
            point = _point(line, name)
            if point is not None:
                yield point
            elif line.strip():
                notes.add(
                    "a line is not mlflow's 'milliseconds value step' and is left out", f"{printable(name)}:{number}"
                )
        if not piece:
            return


def _point(line: bytes, name: str) -> _Point | None:
    parts = line.split()
    if len(parts) < 2:
        return None
    try:
        return float(int(parts[0])), float(int(parts[2])) if len(parts) > 2 else None, name, float(parts[1])
    except (ValueError, OverflowError):
        return None


def _of_database(file: Path, notes: Notes) -> list[tuple[Recording, str]]:
    found = []
    with opened(file, notes) as database:
        if not all(columns <= columns_of(database, table) for table, columns in _TABLES.items()):
            raise RunReadError(f"{printable(file)} is no database of mlflow's: it lacks its tables of runs and metrics")
        flagged = "is_nan" in columns_of(database, "metrics")
        query = "select run_uuid, name, start_time, lifecycle_stage from runs order by start_time"
        for identity, name, began, stage in database.execute(query).fetchall():
            if stage == "deleted":
                notes.add("runs that were deleted in mlflow are left out", printable(identity))
                continue
            params = "select key, value from params where run_uuid is ?"
            known = {"key", "value", "run_uuid"} <= columns_of(database, "params")
            config = {str(k): v for k, v in database.execute(params, (identity,))} if known else {}
            rows = partial(_rows_of_database, file, identity, flagged, notes)
            run = Recording(_DATABASE, file, rows, config, str(name or identity), _seconds(began))
            found.append((run, str(identity)))
    return found


def _rows_of_database(file: Path, identity: Any, flagged: bool, notes: Notes) -> Iterator[Row]:
    try:
        with opened(file, notes) as database:
            query = (
                f"select step, key, value, {'is_nan' if flagged else '0'} from metrics where run_uuid is ? "
                "order by timestamp, step, rowid"
            )
            yield from grouped(_as_logged(database.execute(query, (identity,))))
    except RunReadError as error:
        notes.add(f"rows are missing: {error}", printable(file.name))


def _as_logged(points: Iterable[tuple[Any, Any, Any, Any]]) -> Iterator[tuple[float | None, str, Any]]:
    for step, key, value, is_nan in points:
        if is_nan:
            value = math.nan
        elif isinstance(value, float) and abs(value) == sys.float_info.max:
            value = math.copysign(math.inf, value)
        yield (float(step) if isinstance(step, (int, float)) else None), str(key), value


def _text(file: Path) -> str:
    return first_bytes(file, _LONGEST_VALUE).decode(errors="replace").strip()


def _seconds(milliseconds: Any) -> float | None:
    found = number_of(milliseconds)
    return None if found is None else found / 1000
