"""SwanLab's local files, of swanlab 0.10.3 and 0.7.20 (`data/make.py`)."""

import json
import math

import pytest

from entrokit.runs.reader import RunReadError
from entrokit.runs.stores import swanlab

from .cases import check_cuts, check_the_two_runs, copied, read
from .data.make import framed

ENTROPY = [0.5, 0.45, 0.4, 0.35, math.nan, 0.25]
HEAD = b":SWL\xd6\xe1\x01"


def written(file, *records):
    file.write_bytes(framed(HEAD, [json.dumps(record).encode() for record in records]))
    return file


def scalar(name, step, value):
    return {"model_type": "Scalar", "data": {"metric": {"index": 0, "data": value}, "key": name, "step": step}}


def test_it_is_told_by_names_and_first_bytes(tmp_path):
    for name in ("swanlog", "swanlog-0.7"):
        folder = copied(name, tmp_path)
        file = next(folder.rglob("*.swanlab"))
        for path in (folder, file.parent, file):
            assert swanlab.is_store(path), path
    assert swanlab.is_store(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs.swanlab").write_bytes(b"SQLite format 3\x00")
    for path in (tmp_path / "empty", tmp_path / "runs.swanlab", tmp_path / "none"):
        assert not swanlab.is_store(path), path


def test_two_runs_of_before_0_8(tmp_path):
    folder = copied("swanlog-0.7", tmp_path)
    found, notes = read(swanlab, folder)
    check_the_two_runs(found, mean="critic.score.mean", down=math.inf)
    assert notes == []
    recording = found[0][0]
    assert recording.config == {"lr": 1e-6, "model": {"layers": 2, "name": "qwen"}}
    assert recording.began == pytest.approx(1795914929.1, abs=0.1)


def test_two_runs_of_today(tmp_path):
    found, notes = read(swanlab, copied("swanlog", tmp_path))
    check_the_two_runs(found)
    assert notes == []
    assert found[0][0].config == {"lr": 1e-6, "model": {"layers": 2, "name": "qwen"}}
    assert found[0][0].began == pytest.approx(1795914925.6, abs=0.1)


@pytest.mark.parametrize("name", ["swanlog-0.7", "swanlog"])
def test_a_file_cut_at_every_7th_byte(tmp_path, name):
    file = min(copied(name, tmp_path).rglob("*.swanlab"))
    check_cuts(swanlab, file, ENTROPY)


def test_what_is_none_of_its_records(tmp_path):
    file = written(
        tmp_path / "backup.swanlab",
        scalar("a", 1, 0.5),
        scalar("__swanlab__.cpu.pct", 0, 99.0),
        scalar("b", 1, "NaN"),
        [],
        {"model_type": "Scalar", "data": None},
        {"model_type": "Experiment", "data": {"id": "x", "name": None}},
        {"model_type": "Header", "data": {"create_time": "yesterday"}},
        scalar("a", "two", None),
    )
    ((recording, rows),), notes = read(swanlab, file)
    assert recording.run == "x"
    assert [(row.step, row.fields) for row in rows] == [(1.0, {"a": 0.5, "b": "NaN"}), (None, {"a": None})]
    assert notes == ["a record is none of SwanLab's and is left out (backup.swanlab, and 2 more)"]


def test_what_is_no_file_of_swanlab(tmp_path):
    file = tmp_path / "backup.swanlab"
    file.write_bytes(b"{}")
    with pytest.raises(RunReadError, match="is no file of SwanLab's"):
        read(swanlab, file)
    file.write_bytes(b"")
    assert read(swanlab, file)[1] == [
        "a .swanlab file is empty, or does not begin with SwanLab's signature (backup.swanlab)"
    ]
    (tmp_path / "run-loop").symlink_to(tmp_path)
    assert read(swanlab, tmp_path) == ([], [])


def test_it_reads_what_swanlab_s_own_messages_say(tmp_path):
    """The numbers of fields, held to the library's."""
    messages = pytest.importorskip("swanlab.proto.swanlab.record.v1.record_pb2", reason="needs swanlab 0.8 or later")
    raw = []
    for step, value in ((-3, -0.0), (2**40, 1e300), (0, 0.0), (7, -math.inf)):
        record = messages.Record(num=-5)
        record.scalar.key, record.scalar.step, record.scalar.value.number = "ä/b", step, value
        record.scalar.timestamp.nanos = 5
        raw.append(record.SerializeToString())
    start = messages.Record()
    start.start.id, start.start.started_at.seconds, start.start.started_at.nanos = "x", 1700000000, 250_000_000
    file = tmp_path / "run-x.swanlab"
    file.write_bytes(framed(HEAD, [*raw, start.SerializeToString()]))
    ((recording, rows),), notes = read(swanlab, file)
    assert [(row.step, row.fields["ä/b"]) for row in rows] == [(-3, -0.0), (2**40, 1e300), (0, 0.0), (7, -math.inf)]
    assert (recording.run, recording.began) == ("x", 1700000000.25)
    assert notes == []


@pytest.mark.parametrize(
    "raw",
    [
        b"\x6a\x05\x0a",  # longer than it is
        b"\xff" * 11,
        b"\x6b",  # a group, which nobody writes any more
        b"\x68\x01",  # a number in the place of the point
        b"\x6a\x03\x0a\x01\xff",  # a name that is no text
        b"\x6a\x02\x12\x00",  # bytes in the place of the step
        b"\x6a\x04\x2a\x02\x08\x01",  # a number in the place of the value
    ],
)
def test_messages_that_are_none(tmp_path, raw):
    file = tmp_path / "run-x.swanlab"
    file.write_bytes(framed(HEAD, [raw]))
    ((_, rows),), notes = read(swanlab, file)
    assert rows == []
    assert notes == ["a record is none of SwanLab's and is left out (run-x.swanlab)"]
