"""SQLite files that somebody else's tracker wrote, and may be writing: opened for reading only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..reader import RunReadError
from ..training_log import Notes
from .shared import entries, first_bytes, is_regular, printable

SUFFIXES = (".db", ".sqlite", ".sqlite3")
_MAGIC = b"SQLite format 3\x00"
PATIENCE = 2.0  # seconds for which a writer's lock is waited for


def is_database(file: Path) -> bool:
    return first_bytes(file, len(_MAGIC)) == _MAGIC


def databases_in(folder: Path, notes: Notes) -> list[Path]:
    return [file for file in entries(folder, notes) if file.suffix in SUFFIXES and is_database(file)]


def has_tables(file: Path, wanted: Mapping[str, frozenset[str]]) -> bool:
    """Whether it is a database with these tables, and these columns in them; False where it cannot be told."""
    if not is_database(file):
        return False
    try:
        with opened(file, Notes(), patience=0.1) as database:
            return all(columns <= columns_of(database, table) for table, columns in wanted.items())
    except RunReadError:
        return False


@contextmanager
def opened(file: Path, notes: Notes, patience: float | None = None) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write. What SQLite objects to inside of the ``with`` is told with the file's name.

    Raises:
        RunReadError: no database, a damaged one, or one that another process holds.
    """
    if not is_regular(file):
        raise RunReadError(f"{printable(file)} is no file that can be read")
    try:
        database = _connected(file, notes, PATIENCE if patience is None else patience)
        try:
            yield database
        finally:
            database.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: a message that quotes a damaged schema
        advice = ": another process is writing it; try again, or copy the file" if "locked" in str(error) else ""
        raise RunReadError(f"{printable(file)} cannot be read as SQLite's: {error}{advice}") from error


def columns_of(database: sqlite3.Connection, table: str) -> frozenset[str]:
    """Columns of a table; none where there is no such table. A view is none: it could compute for ever."""
    found = database.execute("select sql from sqlite_master where type = 'table' and name = ?", (table,)).fetchone()
    if found is None or "virtual" in str(found[0]).lower().split("(")[0].split():
        return frozenset()
    return frozenset(str(row[1]) for row in database.execute(f"pragma table_info('{table}')"))


def _connected(file: Path, notes: Notes, patience: float) -> sqlite3.Connection:
    address = file.absolute().as_uri()
    database = _connection(f"{address}?mode=ro", patience)
    try:
        database.execute("select count(*) from sqlite_master").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        database.close()
        # A write-ahead log cannot be shared in a folder that is not ours to write: then the file is read as it lies.
        if "unable to open" not in str(error) and "readonly" not in str(error):
            raise
        if is_regular(file.with_name(f"{file.name}-wal")):
            notes.add("a write-ahead log cannot be used here: the newest rows may be missing", printable(file.name))
        database = _connection(f"{address}?mode=ro&immutable=1", patience)
    return database


def _connection(address: str, patience: float) -> sqlite3.Connection:
    database = sqlite3.connect(address, uri=True, timeout=patience, isolation_level=None)
    database.text_factory = lambda raw: raw.decode("utf-8", errors="replace")
    # The schema is somebody else's: its functions and triggers have no say here.
    database.execute("pragma trusted_schema = off")
    database.execute("pragma query_only = on")
    return database
