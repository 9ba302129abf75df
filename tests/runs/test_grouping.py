"""Which courses are one run, which run is judged, and how courses are joined."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entrokit.runs.courses import Course
from entrokit.runs.grouping import runs_of
from entrokit.runs.series import Broken, Series

STEPS = np.arange(20.0)
FALLING = 1.0 - STEPS / 40


def course(where="a.log", steps=STEPS, values=FALLING, key="entropy", source="console log", **of):
    series = {key: Series.of_arrays(np.asarray(steps, float), np.asarray(values, float))}
    return Course(series, (), None, Path(where), source, **of)


def sizes(*courses):
    return [len(group.courses) for group in runs_of(courses)]


@pytest.mark.parametrize(("off", "runs"), [(1e-3, [2]), (5e-3, [1, 1])])
def test_a_console_log_that_rounds_what_a_file_keeps_is_the_same_run(off, runs):
    assert sizes(course(), course("b.jsonl", values=FALLING * (1 + off))) == runs


@pytest.mark.parametrize(("bad", "runs"), [(2, [2]), (3, [1, 1])])
def test_nine_in_ten_common_points_must_agree(bad, runs):
    values = FALLING.copy()
    values[:bad] += 0.5
    assert sizes(course(), course("b.jsonl", values=values)) == runs


@pytest.mark.parametrize(("common", "runs"), [(2, [1, 1]), (3, [2])])
def test_fewer_than_three_common_steps_say_nothing(common, runs):
    later = STEPS + len(STEPS) - common
    assert sizes(course(), course("b.jsonl", steps=later, values=1.0 - later / 40)) == runs


MEASURED = {"entropy": FALLING / 3, "reward": STEPS / 97, "loss": np.sin(1 + STEPS), "kl": np.exp(-STEPS)}


def written(where, source, steps, values):
    """A recording of several quantities at some of the steps."""
    at = np.asarray(steps, int)
    series = {key: Series.of_arrays(STEPS[at], np.asarray(own, float)[at]) for key, own in values.items()}
    return Course(series, (), None, Path(where), source)


@pytest.mark.parametrize(
    ("steps", "own", "source", "runs"),
    [
        ([18, 19], MEASURED, "JSON lines", [2]),
        ([19], MEASURED, "JSON lines", [2]),
        # Two runs of one seed: alike at the start, and after it only where nothing was measured.
        ([0], MEASURED, "JSON lines", [1, 1]),
        ([0, 1], MEASURED, "JSON lines", [1, 1]),
        ([1], MEASURED, "JSON lines", [1, 1]),
        ([18, 19], MEASURED, "console log", [1, 1]),
        ([18, 19], MEASURED | {"loss": MEASURED["loss"] * (1 + 1e-9)}, "JSON lines", [1, 1]),
        ([18, 19], MEASURED | {"kl": MEASURED["kl"] * np.where(STEPS == 19, 1.001, 1.0)}, "JSON lines", [1, 1]),
        ([18, 19], {key: MEASURED[key] for key in ("entropy", "reward")}, "JSON lines", [1, 1]),
    ],
)
def test_one_or_two_common_steps_of_a_resumed_run_must_agree_to_the_last_digit(steps, own, source, runs):
    assert sizes(written("a.log", "console log", range(20), MEASURED), written("b.jsonl", source, steps, own)) == runs


def test_settings_that_agree_say_nothing():
    settings = {"entropy": MEASURED["entropy"], "reward": STEPS / 16, "loss": 0.0 * STEPS, "lr": 1e-6 + 0.0 * STEPS}
    both = [written(f"{source}.txt", source, range(18, 20), settings) for source in ("console log", "JSON lines")]
    assert sizes(*both) == [1, 1]


def test_a_run_that_broke_in_one_alone_was_not_written_twice():
    console, file = (written(f"{s}.txt", s, range(18, 20), MEASURED) for s in ("console log", "JSON lines"))
    assert sizes(console, file) == [2]
    broken = {"kl": replace(file.series["kl"], broken=Broken(19.0, 1, "nan"))}
    assert sizes(console, replace(file, series={**file.series, **broken})) == [1, 1]


@pytest.mark.parametrize(("gap", "runs"), [(1, [2]), (5, [2]), (6, [1, 1])])
def test_a_log_that_goes_on_where_another_ended_is_the_same_run(gap, runs):
    groups = runs_of([course(steps=STEPS + 19 + gap, values=FALLING / 2), course("b.log")])
    assert [len(g.courses) for g in groups] == runs
    if runs == [2]:
        assert groups[0].series["entropy"].steps.tolist() == [*STEPS, *(STEPS + 19 + gap)]


def test_files_of_one_metric_belong_together_unless_their_runs_differ():
    reward = course("r.csv", key="reward")
    assert sizes(course("e.csv"), reward) == [2]
    assert sizes(course("e.csv", run="a"), replace(reward, run="a")) == [2]
    assert sizes(course("e.csv", run="a"), replace(reward, run="b")) == [1, 1]
    assert sizes(course("e.csv", run="a"), reward) == [2]


def test_a_course_must_fit_all_of_a_run():
    assert sizes(course("e.csv"), course("r.csv", key="reward"), course("f.csv", values=FALLING / 2)) == [2, 1]


@pytest.mark.parametrize(("gap", "runs"), [(50, [2]), (51, [1, 1])])
def test_a_gap_is_as_wide_as_steps_are_apart(gap, runs):
    steps = STEPS * 10
    assert sizes(course(steps=steps), course("b.log", steps=steps + 190 + gap)) == runs


def test_two_runs_in_one_file_are_two_unless_they_say_the_same():
    assert sizes(course(part=0), course(part=1, values=FALLING / 2)) == [1, 1]
    assert sizes(course(part=0), course(part=1)) == [2]
    assert sizes(course(run="0"), course(run="1", values=FALLING / 2)) == [1, 1]
    assert sizes(course(part=0), course(part=1, key="reward")) == [1, 1]


def test_the_last_run_below_another_is_judged_once_it_has_gone_on():
    short = course(part=1, steps=STEPS[:9], values=FALLING[:9] / 2)
    assert [g.courses[0].part for g in runs_of([course(), short])] == [0, 1]
    long = course(part=1, steps=STEPS[:10], values=FALLING[:10] / 2)
    assert [g.courses[0].part for g in runs_of([course(), long])] == [1, 0]


def test_of_runs_beside_each_other_the_one_that_began_last_is_judged_or_the_longest():
    early, late = course("a", began=1.0), course("b", values=FALLING[:15] / 2, steps=STEPS[:15], began=2.0)
    assert runs_of([early, late])[0].courses == [late]
    early, late = replace(early, began=None), replace(late, began=None)
    assert runs_of([late, early])[0].courses == [early]


def test_the_fuller_course_counts_and_the_other_adds_what_it_lacks():
    fuller = course(steps=STEPS[:15], values=FALLING[:15])
    fuller = replace(fuller, series={**fuller.series, "loss": fuller.series["entropy"]})
    (group,) = runs_of([course("b", values=FALLING * 1.001), fuller])
    joined = group.series["entropy"]
    assert joined.values[:15].tolist() == FALLING[:15].tolist()
    assert joined.values[15:].tolist() == (FALLING[15:] * 1.001).tolist()


@pytest.mark.parametrize("kept", [STEPS, STEPS[:10], STEPS + 5])
def test_what_was_not_finite_in_either_is_kept(kept):
    broken = Broken(20.0, 3, "nan", 0.5)
    a, b = course(), course("b", steps=kept, values=1.0 - kept / 40)
    other = {"entropy": replace(b.series["entropy"], broken=broken)}
    (group,) = runs_of([a, replace(b, series=other)])
    assert group.series["entropy"].broken == broken
    first = {"entropy": replace(a.series["entropy"], broken=Broken(3.0, 1, "inf"))}
    (group,) = runs_of([replace(a, series=first), replace(b, series=other)])
    assert group.series["entropy"].broken.first_step == 3.0


def test_no_courses_are_no_runs():
    assert runs_of([]) == []
