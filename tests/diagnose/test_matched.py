"""Curves at equal accuracy, and differences paired by seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.diagnose import Course, at_level, paired_difference, training_course
from entrokit.runs import Run, RunWriter


def test_at_level():
    assert at_level([3.0, 2.0, 1.0], [0.0, 0.4, 0.8], 0.5) == pytest.approx(1.75)
    assert at_level([3.0, 2.0], [0.5, 0.4], 0.5) == 3.0
    assert at_level([3.0, 2.0], [0.1, 0.4], 0.5) is None
    with pytest.raises(ValueError, match="1-D of one length"):
        at_level([3.0], [0.1, 0.4], 0.5)


def test_a_course_answers_in_nats_and_steps():
    course = Course(np.array([0.0, 4.0, 8.0]), np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.4, 0.8]))
    assert course.entropy_at(0.6) == pytest.approx(1.5)
    assert course.steps_to(0.6) == pytest.approx(6.0)
    assert course.steps_to(0.9) is None


def test_the_course_of_a_run_is_a_running_mean_over_15_batches(tmp_path):
    w = RunWriter(tmp_path, {"recipe": "grpo"})
    for i in range(20):
        w.metrics(4 * (i + 1), {"entropy": float(i), "pass@1": i / 40})
    course = training_course(Run.load(tmp_path))
    assert course.entropy.tolist() == pytest.approx([7.0, 8.0, 9.0, 10.0, 11.0, 12.0])
    assert course.steps.tolist() == pytest.approx([32.0 + 4 * i for i in range(6)])
    assert course.accuracy == pytest.approx(course.entropy / 40)


def test_a_run_without_training_batches_is_named(tmp_path):
    RunWriter(tmp_path, {"recipe": "grpo"}).metrics(0, {"eval_entropy": 0.5})
    with pytest.raises(ValueError, match="no training batches with both"):
        training_course(Run.load(tmp_path))


floats = st.floats(-10, 10)


@given(st.lists(st.tuples(floats, floats), min_size=2, max_size=8), floats)
def test_a_paired_difference_sees_only_differences(pairs, shift):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    found = paired_difference(a, b)
    slack = 1e-9
    assert min(found.values) - slack <= found.low <= found.mean + slack
    assert found.mean - slack <= found.high <= max(found.values) + slack
    moved = paired_difference(a + shift, b + shift)
    assert (moved.mean, moved.low, moved.high) == pytest.approx((found.mean, found.low, found.high), abs=1e-9)
    mirrored = paired_difference(b, a)
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx(
        (-found.mean, -found.high, -found.low), abs=1e-9
    )


def test_the_interval_of_many_pairs_is_the_normal_one():
    difference = np.random.default_rng(1).normal(0.3, 2.0, 400)
    found = paired_difference(difference, np.zeros(400))
    assert found.low == pytest.approx(found.mean - 1.96 * found.std_error, abs=0.02)
    assert found.high == pytest.approx(found.mean + 1.96 * found.std_error, abs=0.02)


def test_three_pairs_give_their_extremes_and_one_gives_no_interval():
    three = paired_difference([1.0, 2.0, 6.0], [0.0, 0.0, 0.0])
    assert (three.low, three.mean, three.high) == (1.0, 3.0, 6.0)
    assert f"{three:+.1f}" == "+3.0 [+1.0, +6.0]"
    one = paired_difference([1.0], [0.0])
    assert np.isnan([one.low, one.high, one.std_error]).all()
    assert f"{one}" == "+1.000"


@pytest.mark.parametrize(
    ("values", "baseline", "options", "message"),
    [
        ([], [], {}, "one length above 0"),
        ([1.0], [1.0, 2.0], {}, "one length above 0"),
        ([1.0, float("nan")], [0.0, 0.0], {}, "not finite"),
        ([1.0], [0.0], {"confidence": 1.0}, "confidence must lie in"),
    ],
)
def test_bad_pairs_are_refused(values, baseline, options, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(values, baseline, **options)
