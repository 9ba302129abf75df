"""Measures of an accuracy matrix: numbers by hand, identities, and what is no accuracy."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.optim.classp import accuracy_matrix, average_accuracy, backward_transfer, forgetting, forward_transfer

R = [[0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.6, 0.85, 0.95]]
BEFORE = [0.1, 0.2, 0.15]
shares = st.floats(0.0, 1.0)
matrices = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(shares, min_size=n, max_size=n), min_size=n, max_size=n)
)


def test_numbers_by_hand():
    assert average_accuracy(R) == pytest.approx((0.6 + 0.85 + 0.95) / 3, abs=1e-12)
    # The best that the second task had before the end is 0.8: it gained 0.05.
    assert forgetting(R) == pytest.approx((0.3 - 0.05) / 2, abs=1e-12)
    assert backward_transfer(R) == pytest.approx((-0.3 + 0.05) / 2, abs=1e-12)
    assert forward_transfer(R, BEFORE) == pytest.approx((0.1 + 0.25) / 2, abs=1e-12)
    assert forward_transfer(torch.tensor(R), torch.tensor(BEFORE)) == pytest.approx(0.175, abs=1e-7)


def test_forgetting_is_from_the_best_ever_and_not_from_the_end_of_the_task():
    slow = [[0.5, 0.5, 0.5], [0.9, 0.5, 0.5], [0.6, 0.5, 0.5]]
    assert forgetting(slow) == pytest.approx(0.15, abs=1e-12)
    assert backward_transfer(slow) == pytest.approx(0.05, abs=1e-12)


@given(matrices)
def test_ranges_and_identities(matrix):
    assert 0.0 <= average_accuracy(matrix) <= 1.0
    for measure in (forgetting, backward_transfer):
        assert -1.0 <= measure(matrix) <= 1.0
    # The best accuracy on a task is at least the one right after it.
    assert forgetting(matrix) >= -backward_transfer(matrix) - 1e-12
    constant = [matrix[0]] * len(matrix)
    assert forgetting(constant) == backward_transfer(constant) == forward_transfer(constant, matrix[0]) == 0.0


def test_every_task_is_evaluated_before_the_first_and_after_each():
    log = []

    def evaluate(task):
        log.append(f"evaluate {task}")
        return len([line for line in log if line.startswith("train")]) / 10 + task / 100

    matrix, before = accuracy_matrix([1, 2], lambda task: log.append(f"train {task}"), evaluate)
    assert log == ["evaluate 1", "evaluate 2", "train 1", *log[:2], "train 2", *log[:2]]
    assert before.tolist() == [0.01, 0.02]
    torch.testing.assert_close(matrix, torch.tensor([[0.11, 0.12], [0.21, 0.22]], dtype=torch.float64))
    with pytest.raises(ValueError, match="a task at least"):
        accuracy_matrix([], print, len)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_accuracy([[0.5, 0.5]]), r"average_accuracy: needs accuracies \[T, T\] of T >= 1 tasks, got"),
        (lambda: average_accuracy(torch.empty(0, 0)), "T >= 1"),
        (lambda: forgetting([[0.5]]), r"forgetting: .*T >= 2 tasks, got \[1, 1\]"),
        (lambda: backward_transfer([0.5, 0.5]), "backward_transfer: needs"),
        (lambda: forward_transfer(R, BEFORE[:2]), r"3 tasks need as many accuracies before, got \[2\]"),
        (lambda: forward_transfer(R, [0.1, math.nan, 0.1]), "before: accuracies are fractions"),
        (lambda: forgetting([[90.0, 30.0], [70.0, 80.0]]), "forgetting: accuracies are fractions, 0 to 1"),
        (lambda: average_accuracy([[0.9, math.nan], [0.7, 0.8]]), "none may be missing"),
        (lambda: average_accuracy([[0.9, -0.1], [0.7, 0.8]]), "fractions"),
    ],
)
def test_what_is_no_matrix_of_accuracies(call, message):
    with pytest.raises(ValueError, match=message):
        call()
