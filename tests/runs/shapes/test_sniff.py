"""The shape of a file is told by what it holds, not by its name."""

import json
import pickle

import pytest

from entrokit.runs.shapes.sniff import CONSOLE, JSON_DOCUMENT, JSON_LINES, TABLE, rows_of, shape_of, sniffed
from entrokit.runs.training_log import Notes

VERL = "".join(f"step:{i} - actor/entropy:0.5 - critic/score/mean:0.25\n" for i in range(9))
TRL = "".join(f"{{'loss': 0.5, 'reward': 0.{i}, 'entropy': 0.5}}\n" for i in range(9))
SWIFT = "".join(f"iteration {i}/ 9 | reward: 0.5 | kl: 0.1 |\n" for i in range(9))
ROWS = [{"step": i, "reward": 0.5, "text": "a, b"} for i in range(9)]


@pytest.mark.parametrize(
    ("text", "shape", "rows"),
    [
        (VERL, CONSOLE, 9),
        (TRL, CONSOLE, 9),
        (SWIFT, CONSOLE, 9),
        ("Loading, please wait, soon\n" * 9 + VERL, CONSOLE, 9),
        ("[2026-03-03 16:01:36] start\n" + SWIFT, CONSOLE, 9),
        ("x" * 300_000 + "\n" + "words of another program\n" * 20_000 + VERL, CONSOLE, 9),
        ("\n".join(map(json.dumps, ROWS)), JSON_LINES, 9),
        ("starting\n" + "\n".join(map(json.dumps, ROWS)), JSON_LINES, 9),
        (json.dumps(ROWS[0]), JSON_LINES, 1),
        (json.dumps(ROWS), JSON_DOCUMENT, 9),
        (json.dumps(ROWS * 2000), JSON_DOCUMENT, 18_000),
        (json.dumps(ROWS, indent=2), JSON_DOCUMENT, 9),
        (json.dumps({"log_history": ROWS}), JSON_DOCUMENT, 9),
        (json.dumps({"log_history": ROWS}, indent=2), JSON_DOCUMENT, 9),
        (json.dumps({"step": [1, 2], "reward": [3, 4]}), JSON_DOCUMENT, 2),
        ("step,reward\n1,0.5\n2,0.5\n", TABLE, 2),
        ("Step | reward\n-- | --\n1 | 0.5\n", TABLE, 1),
        ("| NVIDIA-SMI | 535 |\n| GPU | Temp |\n| 0 | 41 |\n| 1 | 40 |\n" + "loading\n" * 9 + VERL, CONSOLE, 9),
        ("words\nof another program\n", CONSOLE, 0),
    ],
)
@pytest.mark.parametrize("name", ["train.log", "run.txt"])
def test_the_shape_of_a_text(tmp_path, text, shape, rows, name):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert shape_of(file) == shape
    recording = rows_of(file, Notes())
    assert (recording.source, recording.where) == (shape, file)
    for _ in range(2):
        assert sum(1 for _ in recording.rows()) == rows


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"PK\x03\x04rest", "zip"),
        (b"PAR1rest", "Parquet"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (pickle.dumps({"reward": [0.5]}), "pickle"),
        (bytes(range(256)) * 40, "binary"),
        (b"\x00" * 5000, "binary"),
    ],
)
def test_a_file_without_text_says_what_it_is(tmp_path, data, word):
    file = tmp_path / "train.log"
    file.write_bytes(data)
    assert shape_of(file) is None
    assert word in sniffed(file).why
    notes = Notes()
    assert rows_of(file, notes) is None
    assert word in notes.lines()[0]
