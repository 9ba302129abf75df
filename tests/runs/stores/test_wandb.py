"""W&B's local files, of wandb 0.31.0 (`data/make.py`)."""

import math

import pytest

from entrokit.extras import MissingExtraError, lacking
from entrokit.runs.reader import RunReadError
from entrokit.runs.stores import wandb

from .cases import check_cuts, check_the_two_runs, copied, points, read
from .data.make import framed

needs_wandb = pytest.mark.skipif(bool(lacking("wandb")), reason="needs the extra 'wandb'")
RUN = "offline-run-20261129_011524-aaaa0000"
HEAD = b":W&B\xe1\xbe\x00"


def written(file, *rows, run=None, config=()):
    """A file with these rows: (names, values as JSON) each."""
    from wandb.proto.wandb_internal_pb2 import Record

    records = []
    if run is not None:
        record = Record()
        record.run.run_id = run
        records.append(record)
    for row in rows:
        record = Record()
        record.history.step.num = len(records)
        for name, text in row.items():
            item = record.history.item.add(value_json=text)
            if isinstance(name, tuple):
                item.nested_key.extend(name)
            else:
                item.key = name
        records.append(record)
    for name, text in config:
        record = Record()
        record.config.update.add(key=name, value_json=text)
        records.append(record)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(framed(HEAD, [record.SerializeToString() for record in records]))
    return file


def test_it_is_told_by_names_and_first_bytes(tmp_path):
    folder = copied("wandb", tmp_path)
    file = folder / RUN / "run-aaaa0000.wandb"
    for path in (tmp_path, folder, folder / RUN, file):
        assert wandb.is_store(path), path
    assert wandb.is_store(file.rename(tmp_path / "renamed"))
    (tmp_path / "other").write_bytes(b":W&C\xe1\xbe\x00")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "other", tmp_path / "empty", tmp_path / "none"):
        assert not wandb.is_store(path), path


@pytest.mark.skipif(not lacking("wandb"), reason="the extra 'wandb' is installed")
def test_without_the_extra_it_says_what_to_install(tmp_path):
    with pytest.raises(
        MissingExtraError, match=r"W&B's local file; reading it needs wandb: pip install 'entrokit\[wandb"
    ):
        wandb.recordings(copied("wandb", tmp_path), wandb.Notes())


@needs_wandb
def test_two_runs(tmp_path):
    folder = copied("wandb", tmp_path)
    (folder / "latest-run").symlink_to(folder / RUN)
    found, notes = read(wandb, folder)
    check_the_two_runs(found)
    assert notes == []
    recording = found[0][0]
    assert recording.config == {"lr": 1e-6, "model": {"name": "qwen", "layers": 2}, "late": 3}
    assert recording.source == "W&B's local file"
    assert recording.began == pytest.approx(1795914924.6, abs=0.1)
    assert found[0][1][0].fields["_timestamp"] == pytest.approx(1795914924.8, abs=0.1)
    assert len(read(wandb, tmp_path)[0]) == 2
    assert [r.run for r, _ in read(wandb, folder / "latest-run")[0]] == ["grpo-0"]


@needs_wandb
def test_a_file_cut_at_every_7th_byte(tmp_path):
    file = copied("wandb", tmp_path) / RUN / "run-aaaa0000.wandb"
    check_cuts(wandb, file, [0.5, 0.45, 0.4, 0.35, math.nan, 0.25])


@needs_wandb
def test_what_is_written_is_what_is_read(tmp_path):
    file = written(
        tmp_path / "run-x.wandb",
        {("a", "b"): "1", "text": '"hi"', "nested": '{"c": {"d": 2.5}, "e": []}', "none": "null", "yes": "true"},
        {"old": '"NaN"', "bad": "nan?", "_step": "7"},
        run="x",
        config=[("late", "1"), ("_wandb", "{}")],
    )
    ((recording, rows),), notes = read(wandb, file)
    assert rows[0].fields == {
        "a/b": 1, "text": "hi", "nested/c/d": 2.5, "nested/e": [], "none": None, "yes": True, "_step": 1,
    }  # fmt: skip
    assert rows[1].fields == {"old": "NaN", "_step": 7}
    assert notes == ["a value is not JSON and is left out (run-x.wandb, row 2, bad)"]
    assert (recording.run, recording.config) == ("x", {"late": 1})


@needs_wandb
def test_records_over_several_blocks_and_a_damaged_one(tmp_path):
    rows = [{"i": str(i), "pad": '"' + "x" * (70_000 if i % 5 == 0 else 900) + '"'} for i in range(200)]
    file = written(tmp_path / "run-x.wandb", *rows, run="x")
    ((_, got),), notes = read(wandb, file)
    assert points(got, "i") == list(range(200))
    assert notes == []
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    file.write_bytes(raw)
    ((_, got),), notes = read(wandb, file)
    left = points(got, "i")
    assert 100 < len(left) < 200
    assert left == sorted(left)
    assert left[-1] == 199
    assert len(notes) == 1
    assert "a block of 32 KiB is damaged" in notes[0]


@needs_wandb
def test_a_config_beside_the_file(tmp_path):
    file = written(tmp_path / "run-1-x" / "run-x.wandb", {"a": "1"}, run="x")
    config = file.parent / "files" / "config.yaml"
    config.parent.mkdir()
    config.write_text("wandb_version: 1\nlr:\n  desc: null\n  value: 0.5\n_wandb:\n  value: {}\nplain: 3\n")
    ((recording, _),), notes = read(wandb, file)
    assert recording.config == {"lr": 0.5}
    config.write_text("lr: [")
    ((recording, _),), notes = read(wandb, file)
    assert recording.config == {}
    assert notes == ["a config cannot be read: ParserError (config.yaml)"]


def test_a_summary_alone_is_no_course(tmp_path):
    summary = tmp_path / "run-20261129_011524-x" / "files" / "wandb-summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text("{}")
    assert wandb.is_store(tmp_path)
    found, notes = read(wandb, tmp_path)
    assert found == []
    assert "W&B's summary holds last values and no course" in notes[0]


@needs_wandb
def test_what_is_no_file_of_wandb(tmp_path):
    file = tmp_path / "run-x.wandb"
    file.write_bytes(b"step,reward\n1,2\n")
    with pytest.raises(RunReadError, match="is no file of W&B's"):
        read(wandb, file)
    assert "is no file of W&B's" in read(wandb, tmp_path)[1][0]
    file.write_bytes(HEAD[:-1] + b"\x05")
    with pytest.raises(RunReadError, match="version 5 of W&B's format"):
        read(wandb, file)
    file.write_bytes(b"")
    assert read(wandb, file) == ([], ["a .wandb file is empty, or cannot be opened (run-x.wandb)"])
    file.write_bytes(framed(HEAD, [b"\xff\xff\xff", b"\x12\x7f"]))
    ((_, rows),), notes = read(wandb, file)
    assert rows == []
    assert notes == ["a record is none of W&B's messages and is left out (run-x.wandb, and 1 more)"]
    file.write_bytes(HEAD + bytes(100_000))
    ((_, rows),), notes = read(wandb, file)
    assert rows == []
    assert "is damaged" in notes[0]


@needs_wandb
def test_loops_of_links_and_odd_names(tmp_path):
    written(tmp_path / "run-\x1b[2J" / "run-\x07.wandb", {"\x1b[1m": "oops"}, run="x")
    (tmp_path / "run-loop").symlink_to(tmp_path)
    (tmp_path / "run-self").symlink_to(tmp_path / "run-self")
    (tmp_path / "run-dangling.wandb").symlink_to(tmp_path / "nowhere")
    found, notes = read(wandb, tmp_path)
    assert len(found) == 1
    assert notes == ["a value is not JSON and is left out (run-�.wandb, row 1, �[1m)"]
