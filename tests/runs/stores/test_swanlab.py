"""SwanLab's local files, of swanlab 0.10.3 and 0.7.20 (`data/make.py`)."""

import json
import math

import pytest

from entrokit.extras import MissingExtraError, lacking
from entrokit.runs.reader import RunReadError
from entrokit.runs.stores import swanlab

from .cases import check_cuts, check_the_two_runs, copied, read
from .data.make import framed

needs_swanlab = pytest.mark.skipif(bool(lacking("swanlab")), reason="needs the extra 'swanlab'")
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


@pytest.mark.skipif(not lacking("swanlab"), reason="the extra 'swanlab' is installed")
def test_without_the_extra_it_says_what_to_install(tmp_path):
    with pytest.raises(MissingExtraError, match=r"pip install 'entrokit\[swanlab\]'"):
        swanlab.recordings(copied("swanlog", tmp_path), swanlab.Notes())


@needs_swanlab
def test_two_runs_of_today(tmp_path):
    found, notes = read(swanlab, copied("swanlog", tmp_path))
    check_the_two_runs(found)
    assert notes == []
    assert found[0][0].config == {"lr": 1e-6, "model": {"layers": 2, "name": "qwen"}}
    assert found[0][0].began == pytest.approx(1795914925.6, abs=0.1)


@pytest.mark.parametrize("name", ["swanlog-0.7", pytest.param("swanlog", marks=needs_swanlab)])
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
