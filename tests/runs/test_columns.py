"""Rows put into columns: what is kept, what is only counted, and what of it is told."""

import math

import pytest

from entrokit.runs import columns
from entrokit.runs.columns import columns_of, number_of, step_number
from entrokit.runs.row import Row
from entrokit.runs.training_log import Notes

READERS = {"step": step_number, "a": number_of, "b": number_of}


def put(rows, notes=None):
    return columns_of(rows, READERS.get, notes or Notes(), "f")


def test_numbers_of_known_names_are_kept_and_of_others_counted():
    found = put(
        [Row({"a": 1.0, "x": 2.0}, 7), Row({"x": 3.0, "b": 4}, 9, step=5.0, run="r"), Row({"a": 6.0, "x": 1.0}, 10)]
    )
    assert list(found.by_name) == ["a", "x", "b"]
    assert (list(found.by_name["a"].rows), list(found.by_name["a"].values)) == ([0, 2], [1.0, 6.0])
    assert (list(found.by_name["b"].rows), list(found.by_name["b"].values)) == ([1], [4.0])
    assert [found.by_name[n].points for n in "axb"] == [2, 3, 1]
    assert not found.by_name["x"].rows
    assert math.isnan(found.steps[0])
    assert found.steps[1] == 5.0
    assert (list(found.lines), list(found.runs), found.run_names) == ([7, 9, 10], [0, 1, 0], [None, "r"])


def test_the_order_of_names_may_change_from_row_to_row():
    found = put([Row({"a": 1.0, "b": 2.0}, 1), Row({"b": 3.0, "a": 4.0}, 2), Row({"a": 5.0}, 3)])
    assert list(found.by_name["a"].values) == [1.0, 4.0, 5.0]
    assert list(found.by_name["b"].values) == [2.0, 3.0]


def test_what_is_no_number_is_counted_with_the_first_of_it():
    found = put([Row({"a": value}, i) for i, value in enumerate(["0.5", "oops", None, "", [1], {}, True, "later"])])
    a = found.by_name["a"]
    assert (list(a.rows), list(a.values)) == ([0, 6], [0.5, 1.0])
    assert (a.points, a.texts, a.text) == (2, 2, ("oops", 1))


def test_rows_of_ever_new_names_are_counted_whole_and_not_remembered(monkeypatch):
    monkeypatch.setattr(columns, "_MOST_PLACES", 5)
    found = put([Row({f"n{i}": 1.0, "a": float(i), "x": 2.0}, i) for i in range(20)])
    assert list(found.by_name["a"].values) == list(range(20))
    assert found.by_name["x"].points == 20
    assert all(found.by_name[f"n{i}"].points == 1 for i in range(20))


def test_too_many_names_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr(columns, "MOST_COLUMNS", 3)
    notes = Notes()
    found = put([Row({"x": 1.0, "y": 1.0, "a": 1.0}, 1)], notes)
    assert notes.lines() == []
    found = put([Row({"x": 1.0, "y": 1.0, "a": 1.0, "b": 1.0}, 1), Row({"a": 2.0, "b": "t"}, 2)], notes)
    assert list(found.by_name) == ["x", "y", "a"]
    assert list(found.by_name["a"].values) == [1.0, 2.0]
    assert len(notes.lines()) == 1
    assert "more than 3 names" in notes.lines()[0]
    assert "f:1" in notes.lines()[0]


@pytest.mark.parametrize(
    ("value", "step"),
    [("7/200", 7.0), ("7/", 7.0), (3, 3.0), ("4", 4.0), ("/7", None), ("a/b", None), (math.nan, None), ("inf", None)],
)
def test_a_step(value, step):
    assert step_number(value) == step
