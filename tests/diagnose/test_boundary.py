"""Coverage, support and the two entropies of two evaluations."""

import math

import numpy as np
import pytest

from entrokit.diagnose import boundary_of
from entrokit.diagnose.boundary import extract_answer
from entrokit.runs import Completion


def row(step, prompt, text, reward, **more):
    return Completion(step=step, prompt=prompt, text=text, reward=reward, **more)


def test_two_evaluations_of_the_same_prompts():
    first = [("p", "1", 1.0), ("p", "2", 1.0), ("q", "3", 0.0), ("q", "4", 1.0), ("r", "5", 0.0), ("r", "6", 0.0)]
    last = [("p", "1", 1.0), ("p", "1", 1.0), ("q", "3", 0.0), ("q", "3", 0.0), ("r", "7", 1.0), ("r", "6", 0.0)]
    rows = [row(0, *r, entropy=np.array([0.5, 0.7])) for r in first] + [
        row(9, *r, entropy=np.array([0.2])) for r in last
    ]
    b = boundary_of(rows)
    assert (b.first.step, b.last.step, b.first.prompts, b.first.attempts) == (0, 9, 3, 2)
    assert b.first.pass_at[1].value == pytest.approx(0.5)
    assert b.last.pass_at[2].value == pytest.approx(2 / 3)
    assert (b.support.preserved, b.support.expanded, b.support.shrunk, b.support.outside) == (1, 1, 1, 0)
    assert b.net_change.value == 0.0
    assert b.first.token_entropy == pytest.approx(0.6)
    assert b.first.answer_entropy == pytest.approx(math.log(2))
    assert b.last.answer_entropy == pytest.approx(math.log(2) / 3)
    assert (b.first.tied, b.last.tied) == (0.5, 0.0)
    assert b.unseen_below == pytest.approx(1 - 0.05**0.5)


def test_unequal_attempts_are_cut_to_the_same_number():
    rows = [row(0, "p", "1", float(i == 5)) for i in range(6)] + [row(1, "p", "1", float(i == 0)) for i in range(2)]
    b = boundary_of(rows)
    assert b.first.attempts == 2
    assert (b.support.preserved, b.support.expanded) == (0, 1)


def test_what_cannot_be_compared_gives_nothing():
    assert boundary_of([]) is None
    assert boundary_of([row(0, "p", "1", 1.0)]) is None
    assert boundary_of([row(0, "p", "1", 1.0), row(1, "q", "1", 1.0)]) is None
    assert boundary_of([row(0, "p", "1", None), row(1, "p", "1", None)]) is None


def test_answers_are_found_where_models_put_them():
    assert extract_answer(r"so \boxed{41}, no, \boxed{ 42 }.") == "42"
    assert extract_answer(r"thus \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert extract_answer("cut \\boxed{12") == "cut \\boxed{12"
    assert extract_answer("2+2=4\n#### 4\n") == "4"
    assert extract_answer("<think>5?\n</think>\nIt is\n7") == "7"
    assert extract_answer("(1+2)*3") == "(1+2)*3"
    assert extract_answer("  \n") == "(no answer)"
