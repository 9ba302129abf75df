"""Curves at equal accuracy."""

import numpy as np
import pytest

from entrokit.diagnose import Course, at_level, training_course
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
