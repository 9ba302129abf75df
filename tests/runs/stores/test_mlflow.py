"""mlflow's folders and databases, of mlflow 3.17.2 (`data/make.py`)."""

import math
import os
import sqlite3

import pytest

from entrokit.runs.reader import RunReadError
from entrokit.runs.stores import mlflow

from .cases import check_cuts, check_the_two_runs, copied, database, points, read, read_or_refused

GONE = "runs that were deleted in mlflow are left out"


def metric(folder, name, text):
    file = folder / "metrics" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_it_is_told_by_meta_yaml_lines_or_tables(tmp_path):
    folder = copied("mlruns", tmp_path / "project")
    run = next(folder.glob("9*/b*"))
    (tmp_path / "databases").mkdir()
    file = database("mlflow.sql", tmp_path / "databases" / "mlflow.db")
    for path in (folder, folder.parent, run, run.parent, run / "metrics", file, file.parent):
        assert mlflow.is_store(path), path
    other = tmp_path / "other"
    metric(other, "notes.txt", "hello there\n")
    (other / "meta.yaml").write_text("package: numpy\n")
    (other / "empty").mkdir()
    for path in (other, other / "metrics", other / "empty", other / "none", run / "metrics" / "up"):
        assert not mlflow.is_store(path), path


def test_two_runs_of_a_folder(tmp_path):
    folder = copied("mlruns", tmp_path)
    for path in (tmp_path, folder, next(folder.glob("9*"))):
        found, notes = read(mlflow, path)
        check_the_two_runs(found)
        assert len(notes) == 1
        assert notes[0].startswith(GONE)
    recording = found[0][0]
    assert recording.source == "mlflow's folder"
    assert recording.config == {"lr": "1e-06", "model/name": "qwen"}
    assert recording.began == 1795914935.816
    assert [r.run for r, _ in read(mlflow, recording.where)[0]] == ["grpo-0"]


def test_two_runs_of_a_database(tmp_path):
    file = database("mlflow.sql", tmp_path / "mlflow.db")
    for path in (file, tmp_path):
        found, notes = read(mlflow, path)
        check_the_two_runs(found)
        assert notes == [f"{GONE} (f41b6bcbc2614d6382375b0ecee24527)"]
    assert found[0][0].config == {"lr": "1e-06", "model/name": "qwen"}
    assert found[0][0].began == 1795914948.552


def test_a_bare_folder_of_metrics(tmp_path):
    metric(tmp_path / "job", "actor/entropy", "1700000000000 0.5 0\n1700000030000 nan 1\n1700000060000 0.25 2\n")
    metric(tmp_path / "job", "critic/score/mean", "1700000000001 1 0\n1700000060001 -Infinity 2\n")
    for path in (tmp_path / "job", tmp_path / "job" / "metrics"):
        ((recording, rows),), notes = read(mlflow, path)
        assert recording.run == "job"
        assert [row.step for row in rows] == [0, 1, 2]
        assert rows[2].fields == {"actor/entropy": 0.25, "critic/score/mean": -math.inf}
        assert notes == []


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    folder = copied("mlruns", tmp_path)
    for file in folder.rglob("meta.yaml"):
        file.write_text(file.read_text().replace("grpo-1", "grpo-0"))
    names = [recording.run for recording, _ in read(mlflow, folder)[0]]
    assert len(set(names)) == 2
    assert all(name.startswith("grpo-0 (") for name in names)


def test_a_resumed_run_goes_back_once(tmp_path):
    lines = [f"{1000 + i} 0.5 {step}\n" for i, step in enumerate([1, 2, 3, 4, 3, 4, 5])]
    for name in ("a", "b", "c"):
        metric(tmp_path, name, "".join(lines))
    ((_, rows),), _ = read(mlflow, tmp_path)
    assert [row.step for row in rows] == [1, 2, 3, 4, 3, 4, 5]
    assert all(set(row.fields) == {"a", "b", "c"} for row in rows)


def test_older_lines_and_lines_that_are_none(tmp_path):
    file = metric(tmp_path, "a", "1 0.5\n2 0.25\n\nx y z\n3\n4 0.125 z\n5 7 7 run dataset\n6 9 9")
    ((_, rows),), notes = read(mlflow, tmp_path)
    assert [(row.step, row.fields["a"]) for row in rows] == [(None, 0.5), (None, 0.25), (7.0, 7.0)]
    assert notes == [
        "a line is not mlflow's 'milliseconds value step' and is left out (a:4, and 2 more)",
        "a last line without its end is left out (cut off, or still being written) (a)",
    ]
    file.write_bytes(b"1 0.5 1\n" + b"9" * 200_000)
    assert read(mlflow, tmp_path)[1] == ["a metric's file has no lines and is left out (a)"]


def test_a_metric_cut_at_every_7th_byte(tmp_path):
    lines = [f"{1700000000000 + i} {i / 8} {i}\n" for i in range(400)]
    raw = "".join(lines)
    for end in range(7 + len(lines[0]), len(raw), 7 * 13):
        metric(tmp_path, "a", raw[:end])
        ((_, rows),), notes = read(mlflow, tmp_path)
        whole = raw[:end].count("\n")
        assert points(rows, "a") == [i / 8 for i in range(whole)]
        assert bool(notes) == (raw[end - 1] != "\n")
    file = metric(tmp_path, "a", "".join(lines[:6]))
    small = file.read_text()
    for end in range(0, len(small), 7):
        file.write_text(small[:end])
        found, notes = read(mlflow, tmp_path)
        assert bool(found) == mlflow.is_store(tmp_path) == (end > 14)  # before that there is no value
        if found:
            assert points(found[0][1], "a") == [i / 8 for i in range(small[:end].count("\n"))]
            assert notes or small[end - 1] == "\n"


def test_databases_cut_and_damaged_anywhere(tmp_path):
    entropy = [0.5, 0.45, 0.4, 0.35, math.nan, 0.25, 1.5, 1.45, 1.4, 1.35, math.nan, 1.25]
    file = database("mlflow.sql", tmp_path / "mlflow.db")
    check_cuts(mlflow, file, entropy, every=511, refused=True)
    raw = file.read_bytes()
    for at in range(0, len(raw), 997):
        file.write_bytes(raw[:at] + b"\xff" * 97 + raw[at + 97 :])
        mlflow.is_store(file)
        read_or_refused(mlflow, file)


def test_what_is_no_database_of_mlflow(tmp_path):
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "text.db").write_bytes(b"hello")
    sqlite3.connect(tmp_path / "bare.db").execute("create table x (y)").connection.close()
    for name in ("empty.db", "text.db", "bare.db"):
        assert not mlflow.is_store(tmp_path / name)
        with pytest.raises(RunReadError, match=name):
            mlflow.recordings(tmp_path / name, mlflow.Notes())
    assert read(mlflow, tmp_path) == ([], [])


def test_ten_thousand_metrics_in_few_open_files(tmp_path):
    resource = pytest.importorskip("resource", reason="Unix alone limits open files")
    for i in range(10_000):
        metric(tmp_path, f"{i // 100}/{i}", f"1 {i} 1\n2 {i + 1} 2\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        ((_, rows),), notes = read(mlflow, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [(row.step, len(row.fields)) for row in rows] == [(1.0, 10_000), (2.0, 10_000)]
    assert notes == []


def test_loops_of_links_pipes_and_odd_names(tmp_path):
    metric(tmp_path, "a", "1 0.5 1\n")
    metric(tmp_path, "\x1b[2J\udce9", "1 0.5 1\nwhat\n")
    (tmp_path / "metrics" / "loop").symlink_to(tmp_path)
    (tmp_path / "metrics" / "self").symlink_to(tmp_path / "metrics" / "self")
    os.mkfifo(tmp_path / "metrics" / "pipe")
    ((_, rows),), notes = read(mlflow, tmp_path)
    assert rows[0].fields == {"a": 0.5, "\x1b[2J\udce9": 0.5}
    assert notes == [
        "what is no file that can be read is left out (pipe, and 1 more)",
        "a line is not mlflow's 'milliseconds value step' and is left out (�[2J�:2)",
    ]


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    metric(tmp_path, "a", "1 0.5 1\n")
    locked = metric(tmp_path, "b", "1 0.5 1\n")
    opened = type(locked).open

    def refuse(self, *args, **kwargs):
        if self.name == "b":
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(type(locked), "open", refuse)
    ((_, rows),), notes = read(mlflow, tmp_path)
    assert rows[0].fields == {"a": 0.5}
    assert notes == ["a metric's file cannot be read: Permission denied (b)"]
