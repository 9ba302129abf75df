"""trackio's local store: ``<project>.db`` in ``TRACKIO_DIR``, by default ``~/.cache/huggingface/trackio``.

Read from a database of trackio 0.43.0 (schema 2): a table ``metrics`` of JSON objects, one a call of ``log``, and a
table ``configs``. Older ones tell runs apart by ``run_name`` alone. ``<project>.parquet`` is trackio's copy of
``metrics`` for the Hub, and is read where there is no database beside it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..columns import number_of
from ..reader import RunReadError
from ..recording import Recording
from ..row import Row
from ..training_log import Notes
from .shared import entries, first_bytes, flat, printable
from .sqlite import columns_of, databases_in, has_tables, opened

SOURCE = "trackio's database"
_PARQUET = "trackio's parquet file"
_TABLES = {"metrics": frozenset({"timestamp", "run_name", "step", "metrics"})}
_COLUMNS = {"timestamp", "run_name", "step"}
_OF_PARQUET = _COLUMNS | {"id", "run_id", "log_id", "space_id"}


def is_store(path: Path) -> bool:
    """Whether it is a database or parquet file of trackio's, or a folder of those."""
    try:
        return bool(_files(path, Notes()))
    except OSError:
        return False


def recordings(path: Path, notes: Notes) -> list[Recording]:
    """The runs of all projects there, a recording each, in the order in which they began.

    Rows hold what a call of ``log`` did. Its step counts calls unless one was given, so it stands among the fields,
    as ``_step``, with the time in ``_timestamp`` (unix seconds).

    Raises:
        RunReadError: the file that was named cannot be read.
    """
    found: list[Recording] = []
    for file in _files(path, notes) if path.is_dir() else [path]:
        try:
            found += _of_parquet(file, notes) if _is_parquet(file) else _of_database(file, notes)
        except RunReadError as error:
            if not path.is_dir():
                raise
            notes.add(f"a database is left out: {error}", printable(file.name))
    return sorted(found, key=lambda r: (r.began is None, r.began or 0.0))


def _files(path: Path, notes: Notes) -> list[Path]:
    if not path.is_dir():
        return [path] if _is_parquet(path) or has_tables(path, _TABLES) else []
    databases = [file for file in databases_in(path, notes) if has_tables(file, _TABLES)]
    copied = {file.stem for file in databases}
    tables = [f for f in entries(path, notes) if f.suffix == ".parquet" and f.stem not in copied and _is_parquet(f)]
    return databases + tables


def _of_database(file: Path, notes: Notes) -> list[Recording]:
    with opened(file, notes) as database:
        columns = columns_of(database, "metrics")
        if not _TABLES["metrics"] <= columns:
            raise RunReadError(f"{printable(file)} is no database of trackio's: it has no table of metrics")
        key = "run_id" if "run_id" in columns else "run_name"
        began = database.execute(
            f"select {key}, max(run_name), min(timestamp) from metrics group by {key} order by min(rowid)"
        ).fetchall()
        configs = _configs(database, key, file, notes)
    names = [str(name) for _, name, _ in began]
    count = Counter(names)
    return [
        Recording(
            SOURCE,
            file,
            partial(_rows, file, key, run, notes),
            configs.get(run, {}),
            name if count[name] == 1 else f"{name} ({str(run)[:8]})",
            _seconds(first),
        )
        for (run, _, first), name in zip(began, names, strict=True)
    ]


def _configs(database: sqlite3.Connection, key: str, file: Path, notes: Notes) -> dict[Any, dict[str, Any]]:
    if not {key, "config"} <= columns_of(database, "configs"):
        return {}
    found = {}
    for run, text in database.execute(f"select {key}, config from configs"):
        said = _object(text, "a config", printable(file.name), notes)
        found[run] = {name: value for name, value in said.items() if name[:1] != "_"}  # _Username, _Created, _Group
    return found


def _rows(file: Path, key: str, run: Any, notes: Notes) -> Iterator[Row]:
    try:
        with opened(file, notes) as database:
            query = f"select step, timestamp, metrics from metrics where {key} is ? order by rowid"
            for number, (step, time, text) in enumerate(database.execute(query, (run,)), start=1):
                fields = flat(_object(text, "a row", f"{printable(file.name)}, row {number}", notes))
                yield Row({"_step": step, "_timestamp": _seconds(time), **fields}, number)
    except RunReadError as error:
        notes.add(f"rows are missing: {error}", printable(file.name))


def _object(text: Any, what: str, where: str, notes: Notes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    notes.add(f"{what} is no JSON object and is left out", where)
    return {}


def _seconds(time: Any) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError, OverflowError):
        return number_of(time)


def _is_parquet(file: Path) -> bool:
    if first_bytes(file, 4) != b"PAR1":
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return set(pq.read_schema(file).names) >= _COLUMNS
    except (pa.ArrowException, OSError, ValueError):
        return False


def _of_parquet(file: Path, notes: Notes) -> list[Recording]:
    names = dict.fromkeys(run for _, run, _ in _parquet_rows(file, ["run_name", "timestamp"], Notes()))
    return [Recording(_PARQUET, file, partial(_rows_of_parquet, file, name, notes), {}, name) for name in names]


def _rows_of_parquet(file: Path, run: str, notes: Notes) -> Iterator[Row]:
    for number, name, row in _parquet_rows(file, None, notes):
        if name == run:
            # Every row has every column of the project: what this call did not log is None.
            logged = flat({k: v for k, v in row.items() if k not in _OF_PARQUET and v is not None})
            yield Row({"_step": row["step"], "_timestamp": _seconds(row["timestamp"]), **logged}, number)


def _parquet_rows(file: Path, columns: list[str] | None, notes: Notes) -> Iterator[tuple[int, str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, str(row["run_name"]), row
    except (pa.ArrowException, OSError, ValueError) as error:
        notes.add(f"a parquet file is damaged: {type(error).__name__}", f"{printable(file.name)}, row {number}")
