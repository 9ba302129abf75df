"""trackio's databases and parquet files, of trackio 0.43.0 (`data/make.py`)."""

import math
import sqlite3

import pytest

from entrokit.runs.reader import RunReadError
from entrokit.runs.stores import trackio

from .cases import check_cuts, check_the_two_runs, copied, database, points, read, read_or_refused

OLD = "create table metrics (id integer primary key, timestamp text, run_name text, step integer, metrics text)"


def of_rows(file, *rows):
    """A database as older versions wrote it."""
    connection = sqlite3.connect(file)
    connection.execute(OLD)
    connection.executemany("insert into metrics (timestamp, run_name, step, metrics) values (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return file


def test_it_is_told_by_its_tables(tmp_path):
    file = database("trackio.sql", tmp_path / "field.db")
    parquet = copied("trackio.parquet", tmp_path / "hub")
    for path in (tmp_path, file, parquet, parquet.parent):
        assert trackio.is_store(path), path
    other = tmp_path / "other"
    other.mkdir()
    (other / "text.db").write_bytes(b"no database")
    (other / "cut.db").write_bytes(b"SQLite format 3\x00")
    (other / "cut.parquet").write_bytes(b"PAR1")
    database("mlflow.sql", other / "mlflow.db")
    for path in (*other.iterdir(), other, other / "none"):
        assert not trackio.is_store(path), path


def test_two_runs_of_a_database(tmp_path):
    database("trackio.sql", tmp_path / "field.db")
    copied("trackio.parquet", tmp_path).rename(tmp_path / "field.parquet")
    found, notes = read(trackio, tmp_path)
    check_the_two_runs(found)
    assert notes == []
    recording = found[0][0]
    assert recording.source == "trackio's database"
    assert recording.config == {"lr": 1e-6, "model": {"name": "qwen", "layers": 2}}
    assert recording.began == pytest.approx(1795914928.16, abs=0.01)


def test_two_runs_of_a_parquet_file(tmp_path):
    found, notes = read(trackio, copied("trackio.parquet", tmp_path))
    check_the_two_runs(found)
    assert notes == []
    assert set(found[0][1][0].fields) == {
        "_step", "_timestamp", "actor/entropy", "critic/score/mean", "up", "down", "train/global_step",
    }  # fmt: skip


def test_older_databases_and_rows_that_are_none(tmp_path):
    rows = [(None, "b", 0, '{"x": 1}'), ("soon", "a", 0, "{"), ("1", "b", "two", '{"x": NaN}'), (3, None, 5, b"[1]")]
    found, notes = read(trackio, of_rows(tmp_path / "old.db", *rows))
    assert {recording.run for recording, _ in found} == {"a", "b", "None"}
    (b,) = [rows for recording, rows in found if recording.run == "b"]
    assert b[0].fields == {"_step": 0, "_timestamp": None, "x": 1}
    assert math.isnan(b[1].fields["x"])
    assert notes == ["a row is no JSON object and is left out (old.db, row 1, and 1 more)"]


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    file = database("trackio.sql", tmp_path / "field.db")
    connection = sqlite3.connect(file)
    connection.execute("update metrics set run_name = 'same'")
    connection.commit()
    connection.close()
    names = [recording.run for recording, _ in read(trackio, file)[0]]
    assert len(set(names)) == 2
    assert all(name.startswith("same (") for name in names)


def test_databases_and_parquet_files_cut_anywhere(tmp_path):
    entropy = [0.5, 0.45, 0.4, 0.35, math.nan, 0.25, 1.5, 1.45, 1.4, 1.35, math.nan, 1.25]
    check_cuts(trackio, database("trackio.sql", tmp_path / "field.db"), entropy, every=511, refused=True)
    parquet = copied("trackio.parquet", tmp_path)
    raw = parquet.read_bytes()
    for end in range(0, len(raw), 7):
        parquet.write_bytes(raw[:end])
        assert not trackio.is_store(parquet)


def test_damaged_pages(tmp_path):
    file = database("trackio.sql", tmp_path / "field.db")
    raw = file.read_bytes()
    for at in range(0, len(raw), 997):
        file.write_bytes(raw[:at] + b"\xff" * 97 + raw[at + 97 :])
        trackio.is_store(file)
        read_or_refused(trackio, file)


def test_a_locked_database_says_so(tmp_path, monkeypatch):
    file = database("trackio.sql", tmp_path / "field.db")
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("begin exclusive")
    monkeypatch.setattr("entrokit.runs.stores.sqlite.PATIENCE", 0.05)
    with pytest.raises(RunReadError, match=r"locked: another process is writing it; try again"):
        trackio.recordings(file, trackio.Notes())
    writer.execute("rollback")
    writer.close()
    check_the_two_runs(read(trackio, file)[0])


def test_a_run_that_is_being_written(tmp_path):
    """trackio keeps a write-ahead log: what is not in the database's own file yet is read, too."""
    file = database("trackio.sql", tmp_path / "field.db")
    writer = sqlite3.connect(file)
    writer.execute("pragma journal_mode = wal")
    writer.execute(
        "insert into metrics select 99, run_id, timestamp, run_name, 21, '{\"new\": 1}', null, null "
        "from metrics where id = 1"
    )
    writer.commit()
    (_, rows), _ = read(trackio, file)[0]
    assert points(rows, "new") == [1.0]
    writer.close()


def test_what_is_no_table_is_not_asked(tmp_path):
    """A view could compute for ever."""
    file = tmp_path / "trap.db"
    connection = sqlite3.connect(file)
    connection.execute(
        "create view metrics as with recursive t(step) as (select 1 union all select step + 1 from t) "
        "select step, '' as timestamp, 'x' as run_name, '{}' as metrics from t"
    )
    connection.commit()
    connection.close()
    assert not trackio.is_store(file)
    with pytest.raises(RunReadError, match="no table of metrics"):
        read(trackio, file)
    assert read(trackio, tmp_path) == ([], [])
