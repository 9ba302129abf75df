"""JSON, whichever way round it was written."""

import json
import math

import pytest

from entrokit.runs.shapes.json_text import json_document_rows, json_line_rows
from entrokit.runs.training_log import Notes


def read(tmp_path, text, reader=json_document_rows, name="log.json", encoding="utf-8"):
    file = tmp_path / name
    file.write_bytes(text.encode(encoding))
    notes = Notes()
    return [dict(row.fields) for row in reader(file, notes)], notes.lines()


TWO = [{"step": 1, "reward": 0.25}, {"step": 2, "reward": 0.5}]


@pytest.mark.parametrize(
    "document",
    [
        TWO,
        {"log_history": TWO, "best_metric": None},
        {"history": TWO},
        {"step": [1, 2], "reward": [0.25, 0.5]},
        {"reward": [[1, 0.25], [2, 0.5]]},
        {"reward": [[1.7e9, 1, 0.25], [1.7e9, 2, 0.5]]},
        {"columns": ["step", "reward"], "index": [0, 1], "data": [[1, 0.25], [2, 0.5]]},
        {"step": {"0": 1, "1": 2}, "reward": {"0": 0.25, "1": 0.5}},
        [["step", "reward"], [1, 0.25], [2, 0.5]],
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_in_many_ways(tmp_path, document, indent):
    rows, notes = read(tmp_path, json.dumps(document, indent=indent))
    assert rows == TWO
    assert not notes


def test_several_documents_after_each_other(tmp_path):
    assert read(tmp_path, "".join(json.dumps(row, indent=1) for row in TWO))[0] == TWO


def test_tensorboards_json_is_named_by_its_file(tmp_path):
    rows, _ = read(tmp_path, "[[1.7e9, 1, 0.5]]", name="run-x-tag-train_reward.json")
    assert rows == [{"step": 1, "train_reward": 0.5}]


def test_a_document_that_was_cut_off_is_read_up_to_there(tmp_path):
    rows, notes = read(tmp_path, json.dumps(TWO)[:-8])
    assert rows == TWO[:1]
    assert "cut off" in notes[0]


@pytest.mark.parametrize("text", ["[1, 2, 3]", '"text"', "{}", "[]", "[" * 100_000, '{"a":' * 100_000, "", "9" * 5000])
def test_json_without_rows(tmp_path, text):
    rows, notes = read(tmp_path, text)
    assert rows == []
    assert notes


def test_a_document_over_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("entrokit.runs.shapes.json_text.LARGEST_DOCUMENT", 20)
    rows, notes = read(tmp_path, json.dumps(TWO))
    assert rows == []
    assert "an object a line" in notes[0]


def lines(tmp_path, text, **how):
    return read(tmp_path, text, reader=json_line_rows, **how)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_lines_in_any_usual_encoding(tmp_path, encoding):
    assert lines(tmp_path, "\r\n".join(map(json.dumps, TWO)), encoding=encoding)[0] == TWO


def test_what_is_nested_is_joined_and_wrappers_fall_away(tmp_path):
    text = '{"step": 1, "data": {"actor/entropy": 0.5}}\n{"step": 2, "critic": {"score": {"mean": 0.25}}, "x": [0.5]}\n'
    assert lines(tmp_path, text)[0] == [
        {"step": 1, "actor/entropy": 0.5},
        {"step": 2, "critic/score/mean": 0.25, "x": 0.5},
    ]


def test_a_wrapper_that_would_overwrite_a_name_stays(tmp_path):
    assert lines(tmp_path, '{"step": 1, "data": {"step": 7}}')[0] == [{"step": 1, "data/step": 7}]


def test_a_list_is_left_out_and_noted(tmp_path):
    rows, notes = lines(tmp_path, '{"step": 1, "lengths": [1, 2]}\n')
    assert rows == [{"step": 1}]
    assert "'lengths' holds a list" in notes[0]


def test_nan_and_infinity(tmp_path):
    rows, _ = lines(tmp_path, '{"kl": NaN, "loss": -Infinity, "grad": "nan", "none": null}\n')
    assert math.isnan(rows[0]["kl"])
    assert (rows[0]["loss"], rows[0]["grad"], rows[0]["none"]) == (-math.inf, "nan", None)


def test_long_lines_are_pivoted(tmp_path):
    assert lines(tmp_path, '{"step": 1, "key": "reward", "value": 0.5, "timestamp": 9}\n')[0] == [
        {"step": 1, "reward": 0.5}
    ]


def test_two_objects_in_a_line_and_a_half_written_one(tmp_path):
    rows, notes = lines(tmp_path, '{"step": 1} {"step": 2}\n{"step": 3}\n{"step": 4, "rew')
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert len(notes) == 1


def test_what_is_no_object_is_noted(tmp_path):
    rows, notes = lines(tmp_path, "[1]\n7\n\n" + "[" * 70_000 + "\n" + '{"a": ' + "9" * 5000 + "}\n")
    assert rows == []
    assert len(notes) == 3
