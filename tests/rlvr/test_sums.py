"""Worked sums: what is judged, what the demonstrations look like, and how hard they are."""

import random

import pytest

from entrokit.rlvr.tasks import load_task
from entrokit.rlvr.tasks.sums import ALPHABET, SumsDemonstrations, prompt_of, reward, sums, verify, worked


def test_only_what_follows_the_first_marker_counts():
    assert verify("7+8=15~~4+3=7|85", 85)
    assert verify("|85", 85)
    for wrong in ("85", "7+8=15|85~", "|085", "|8|85", "|85|", "|", "", "|+85", "| 85"):
        assert not verify(wrong, 85), wrong
    assert reward(["|85", "|84"], [85, 85]) == [1.0, 0.0]
    assert reward([[{"role": "assistant", "content": "|85"}]], [85]) == [1.0]


def test_without_slips_an_attempt_is_right_and_adds_column_by_column():
    rng = random.Random(0)
    assert worked(47, 38, rng, 0.0, 0.0) == "7+8=154+3=7|85"
    for _ in range(50):
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        text = worked(a, b, rng, 0.9, 0.0)
        assert verify(text, a + b)
        assert len(prompt_of(a, b) + text) < 64


def test_demonstrations():
    rng = random.Random(1)
    rows = [SumsDemonstrations(digits=(2, 3)).sample(rng) for _ in range(400)]
    assert all(set(p + c) <= set(ALPHABET) for p, c in rows)
    right = sum(verify(c, eval(p.rstrip("="))) for p, c in rows) / 400
    assert 0.5 < right < 0.9
    assert {len(p) for p, _ in rows} == {6, 8}
    with pytest.raises(ValueError, match="idle must be a number"):
        SumsDemonstrations(idle=2)
    with pytest.raises(ValueError, match="fewest, most"):
        SumsDemonstrations(digits=(3, 2))


def test_the_task():
    pytest.importorskip("datasets")
    task = load_task("sums:2-3", train_size=50, seed=3)
    assert task.demonstrations == SumsDemonstrations(digits=(2, 3))
    prompts = [r["prompt"] for r in task.train] + [r["prompt"] for r in task.evaluation]
    assert len(set(prompts)) == len(prompts)
    row = task.train[0]
    assert row["total"] == eval(row["prompt"].rstrip("="))
    assert row["digits"] == len(row["prompt"].split("+")[0])
    assert sums(50, 8, seed=3).train[0] == sums(50, 8, seed=3).train[0]
    with pytest.raises(ValueError, match="found only 81 distinct sums"):
        sums(90, 10, digits=(1, 1))
