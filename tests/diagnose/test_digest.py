"""Completions in one pass: sums by family and step, distinct prompts, groups, mismatch."""

import math

import numpy as np
import pytest

from entrokit.diagnose import digest as module
from entrokit.diagnose.digest import OTHER_FAMILIES, digest
from entrokit.runs import QUADRANTS, Completion


def completion(step=0, prompt="p", reward=1.0, **more):
    return Completion(step=step, prompt=prompt, text="t", reward=reward, **more)


def test_sums_by_family_and_step():
    rows = [
        completion(s, f"{f}{i}", float(i % 2), family=f, truncated=i == 0)
        for s in (1, 2)
        for f in "ab"
        for i in range(4)
    ]
    d = digest(rows)
    assert (d.rows, d.families, d.prompts, d.appearances) == (16, ["a", "b"], 8, 16)
    steps, means, counts = d.course("a", "reward")
    assert (steps.tolist(), means.tolist(), counts.tolist()) == ([1, 2], [0.5, 0.5], [4, 4])
    assert d.course(None, "truncated")[1].tolist() == [0.25, 0.25]
    assert d.course("a", "entropy")[0].tolist() == []


def test_groups_of_equal_rewards():
    rows = [completion(1, "p", r) for r in (1.0, 1.0)] + [completion(1, "q", r) for r in (0.0, 1.0)]
    d = digest([*rows, completion(2, "p", 0.0), completion(2, "r", None)])
    assert (d.groups, d.flat_groups) == (2, 1)


def test_a_sampler_that_is_not_the_policy_shows_in_surprise():
    rng = np.random.default_rng(0)

    def rows(temperature, n=300, length=20):
        for _ in range(n):
            z = rng.normal(size=(length, 12)) * 2
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            q = p ** (1 / temperature)
            taken = np.array([rng.choice(12, p=row / row.sum()) for row in q])
            logp = np.log(p[np.arange(length), taken])
            yield completion(logp=logp, entropy=-(p * np.log(p)).sum(1))

    assert abs(digest(rows(1.0)).mismatch.sigmas) < 3
    cold = digest(rows(0.7)).mismatch
    assert cold.sigmas < -8
    assert cold.relative < -0.1
    assert digest([]).mismatch.sigmas == 0.0
    assert math.isnan(digest([]).mismatch.relative)
    # A policy that is certain of all and surprised by all: nothing is farther from being the one that sampled.
    certain = digest([completion(logp=np.array([-3.0]), entropy=np.zeros(1)) for _ in range(2)]).mismatch
    assert certain.relative == math.inf
    assert digest([completion(logp=np.zeros(1), entropy=np.zeros(1))]).mismatch.relative == 0.0
    logp = np.array([-1.0, -2.0])
    m = digest([completion(logp=logp, sampler_logp=logp + 0.5)]).mismatch
    assert m.logp_gap / m.logp_tokens == pytest.approx(0.5)


def test_the_quadrants_of_the_proxy():
    likely = {"logp": np.log([0.9]), "entropy": np.array([0.4])}
    rare = {"logp": np.log([0.01]), "entropy": np.array([0.4])}
    d = digest(
        [completion(advantage=1.0, **likely), completion(advantage=-1.0, **rare), completion(advantage=0.0, **rare)]
    )
    assert set(d.free) <= set(QUADRANTS)
    assert d.free["likely, advantage > 0"] == pytest.approx(-0.9 * 0.1 * (np.log(0.9) + 0.4))
    assert d.free["unlikely, advantage < 0"] == pytest.approx(0.01 * 0.99 * (np.log(0.01) + 0.4))
    assert d.free["likely, advantage > 0"] < 0
    assert d.free["unlikely, advantage < 0"] < 0


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MOST_FAMILIES", 4)
    monkeypatch.setattr(module, "_MOST_STEPS", 50)
    monkeypatch.setattr(module, "_MOST_PROMPTS", 500)
    d = digest(completion(i, f"prompt {i}", family=f"f{i % 9}") for i in range(20_000))
    assert d.families == [OTHER_FAMILIES, "f0", "f1", "f2", "f3"]
    assert len(d.cells) <= 50 + 5
    assert sum(c.rows for c in d.cells.values()) == 20_000
    assert d.prompts == pytest.approx(20_000, rel=0.2)


def test_top_k_bounds_are_averaged():
    bounds = np.array([[0.1, 0.5], [0.3, 0.7]])
    d = digest([completion(entropy_bounds=bounds), completion(entropy_bounds=bounds + 0.2)])
    assert d.bounds == pytest.approx((0.3, 0.7))
