"""Which step a row belongs to, which column counts, and where a run begins anew."""

import math
from pathlib import Path

import pytest

from entrokit.runs.courses import courses_of
from entrokit.runs.names import Names
from entrokit.runs.recording import Recording
from entrokit.runs.row import Row
from entrokit.runs.training_log import Notes


def courses(rows, notes=None, **of):
    rows = [row if isinstance(row, Row) else Row(row, i) for i, row in enumerate(rows, 1)]
    return courses_of(
        Recording("JSON lines", Path("m.jsonl"), lambda: iter(rows), **of), Names.load(), notes or Notes()
    )


def one(rows, notes=None):
    (course,) = courses(rows, notes)
    return course


def points(course, key="entropy"):
    series = course.series[key]
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def test_the_step_of_the_shape_counts_before_a_column():
    rows = [Row({"step": 50.0 + i, "entropy": 0.5}, i, step=float(i)) for i in range(3)]
    assert [s for s, _ in points(one(rows))] == [0, 1, 2]


def test_rows_whose_shape_says_no_step_take_the_column_s():
    rows = [Row({"step": 4.0, "entropy": 0.5}, 1), Row({"entropy": 0.25}, 2, step=5.0)]
    assert points(one(rows)) == [(4, 0.5), (5, 0.25)]


def test_a_constant_column_is_no_step():
    rows = [{"step": 1.0, "global_step": 10.0 * i, "entropy": 0.5} for i in range(5)]
    assert [s for s, _ in points(one(rows))] == [0, 10, 20, 30, 40]
    two = [{"step": 1.0, "entropy": 0.5}, {"step": 1.0, "entropy": 0.25}]
    assert points(one(two)) == [(1, 0.25)]


def test_a_fraction_is_a_step():
    rows = [{"global_step/max_steps": f"{i}/200", "entropy": 0.5} for i in (7, 8, 9)]
    assert [s for s, _ in points(one(rows))] == [7, 8, 9]


@pytest.mark.parametrize(("left_out", "taken"), [(16, 3), (3, 3), (1, 100), (0, 100)])
def test_a_sparse_step_is_passed_over_for_one_that_every_row_has(left_out, taken):
    rows = [
        {"_step": 3.0 * i, "entropy": 0.5} | ({"trainer/global_step": 100.0 * i} if i >= left_out else {})
        for i in range(20)
    ]
    assert points(one(rows))[-1] == (19 * taken, 0.5)


def test_without_steps_the_rows_of_metrics_are_counted_and_it_is_told():
    notes = Notes()
    course = one([{"entropy": 0.5}, {"note": "text"}, {"entropy": 0.25}], notes)
    assert points(course) == [(0, 0.5), (1, 0.25)]
    assert notes.lines() == ["no step was written: rows are counted from 0 (m.jsonl)"]
    notes = Notes()
    one([{"step": 0, "entropy": 0.5}], notes)
    assert notes.lines() == []


def test_of_a_step_written_twice_the_last_value_counts():
    assert points(one([{"step": s, "entropy": e} for s, e in ((0, 1.0), (1, 0.9), (1, 0.8), (2, 0.7))])) == [
        (0, 1.0),
        (1, 0.8),
        (2, 0.7),
    ]


def test_a_run_that_was_resumed_is_one_and_its_later_values_count():
    steps = [0, 1, 2, 3, 4, 2, 3, 4, 5]
    course = one([{"step": s, "entropy": float(i)} for i, s in enumerate(steps)])
    assert points(course) == [(0, 0), (1, 1), (2, 5), (3, 6), (4, 7), (5, 8)]


@pytest.mark.parametrize(("before", "runs"), [(2, 1), (3, 2), (9, 2)])
def test_a_run_that_began_anew_is_another_if_the_first_had_gone_on(before, runs):
    steps = [*range(1, before + 1), *range(1, 8)]
    found = courses([{"step": s, "entropy": float(i)} for i, s in enumerate(steps)])
    assert len(found) == runs
    assert [c.part for c in found] == list(range(runs))
    assert points(found[-1])[0] == (1, before)
    if runs == 2:
        assert points(found[0]) == [(s, s - 1) for s in range(1, before + 1)]


def test_a_step_of_several_rows_is_cut_before_the_first_of_them():
    """As slime writes: perf, rollout and step lines of each step."""
    rows = []
    for run in range(2):
        for step in range(5):
            rows += [{"rollout/step": step, "reward": 10.0 * run + step}]
            rows += [{"rollout/step": step, "loss": 1.0}, {"rollout/step": step, "entropy": 10.0 * run + step}]
            rows += [{"rollout/step": step, "entropy": 10.0 * run + step}]
    found = [c for c in courses([{"step": r.pop("rollout/step")} | r for r in rows]) if c.series]
    assert len(found) == 2
    for run, course in enumerate(found):
        assert points(course, "reward") == [(s, 10.0 * run + s) for s in range(5)]
        assert points(course) == [(s, 10.0 * run + s) for s in range(5)]


def test_of_two_columns_of_a_quantity_the_one_with_numbers_counts():
    rows = [
        {"step": i, "actor/entropy": 0.5 if i == 0 else None, "entropy": 0.25, "actor/pg_loss": 0.1} for i in range(6)
    ]
    course = one(rows)
    assert len(course.series["entropy"]) == 6
    why = {c.name: (c.key, c.why) for c in course.columns}
    assert why["entropy"][0] == "entropy"
    assert why["actor/entropy"] == (None, "entropy was taken from entropy")
    assert why["step"] == (None, "a step")


def test_a_name_by_hand_counts_however_few_numbers_it_has():
    rows = [Row({"step": i, "entropy": 0.25} | ({"mine": 0.5} if i == 0 else {}), i) for i in range(6)]
    names = Names.load().with_user({"entropy": "mine"})
    (course,) = courses_of(Recording("JSON lines", Path("m"), lambda: iter(rows)), names, Notes())
    assert points(course) == [(0, 0.5)]


def test_rows_are_parted_by_their_run():
    rows = [Row({"step": float(i), "entropy": i + r / 10}, i, run=str(r)) for i in range(4) for r in range(2)]
    found = courses(rows)
    assert [c.run for c in found] == ["0", "1"]
    for r in range(2):
        assert points(found[r]) == [(i, i + r / 10) for i in range(4)]


def test_what_is_not_finite_stays_with_its_run():
    values = [1.0, math.nan, 0.9, math.inf, 0.8, 1.0, 0.9, 0.8]
    found = courses([{"step": s, "entropy": v} for s, v in zip([1, 2, 3, 4, 5, 1, 2, 3], values, strict=True)])
    first, second = (c.series["entropy"].broken for c in found)
    assert (first.first_step, first.count, first.kind, first.last_finite, first.recovered) == (2, 2, "nan", 1.0, True)
    assert second is None
    told = [next(col for col in c.columns if col.name == "entropy").broken for c in found]
    assert told == [first, None]


def test_a_run_of_nothing_but_nan_is_a_run():
    course = one([{"step": i, "entropy": math.nan} for i in range(3)])
    assert (len(course.series["entropy"]), course.series["entropy"].broken.count) == (0, 3)


def test_cells_that_are_no_numbers_are_told_with_how_many():
    notes = Notes()
    one([{"step": i, "entropy": "oops" if i in (1, 3) else 0.5, "comment": "fine"} for i in range(5)], notes)
    assert notes.lines() == ["'entropy' holds something that is no number: 'oops' (m.jsonl:2, and 1 more)"]


def test_no_rows_are_no_run():
    assert courses([]) == []
