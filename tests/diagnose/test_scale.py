"""Rewards on their own scale: the same course means the same whatever rewards are worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.diagnose import diagnose
from entrokit.diagnose.scale import scale_of
from entrokit.diagnose.trend import Trend
from entrokit.runs import Series

from .logs import log_of

N = 80
SPENT = 0.6 * np.exp(-5 * np.linspace(0, 1, N))


def trend(values):
    return Trend(np.arange(float(len(values))), np.asarray(values, dtype=float))


def series(values):
    return Series.of_arrays(np.arange(float(len(values))), np.asarray(values, dtype=float))


@pytest.mark.parametrize(
    ("values", "low", "high", "declared", "expected"),
    [
        ([0.1, 0.2, 0.5], None, None, None, (0.0, 1.0, "usual")),
        ([-0.4, 0.2, 0.5], None, None, None, (-1.0, 1.0, "usual")),
        ([-0.1, 0.2, 0.5], None, None, None, (-0.1, 1.0, "usual")),
        ([0.1, 0.2, 0.5], [-1, -1, -1], [1, 1, 1], None, (-1.0, 1.0, "written")),
        ([0.1, 0.2, 0.5], None, [2, 2, 2], None, (0.0, 2.0, "written")),
        ([0.1, 0.2, 0.5], None, [0, 0, 0], None, (0.0, 1.0, "usual")),  # a maximum below the mean is none
        ([3.0, 5.0, 9.0], None, None, (0, 10), (0.0, 10.0, "declared")),
        ([3.0, 5.0, 9.0], None, None, None, (0.0, 9.0, "seen")),
        ([-30.0, -20.0, -10.0], None, None, None, (-30.0, -10.0, "seen")),
    ],
)
def test_where_the_scale_comes_from(values, low, high, declared, expected):
    bounds = [None if b is None else series(np.repeat(b, 10)) for b in (low, high)]
    scale = scale_of(trend(np.repeat(values, 10)), *bounds, declared, 0.01)
    assert scale.source == expected[2]
    assert (scale.low, scale.high) == pytest.approx(expected[:2])


def test_maxima_that_wander_are_no_top():
    """A batch's own maximum is at most what that batch held."""
    rewards = np.linspace(3.0, 9.0, 40)
    wandering = rewards + 1.0 + np.arange(40) % 7 / 10
    assert scale_of(trend(rewards), None, series(wandering), None, 0.01).source == "seen"
    reached = np.where(np.arange(40) % 3, wandering, 12.0)
    scale = scale_of(trend(rewards), None, series(reached), None, 0.01)
    assert (scale.high, scale.source) == (12.0, "written")


@pytest.mark.parametrize("declared", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1)])
def test_a_range_that_is_none_is_refused(declared):
    with pytest.raises(ValueError, match="reward_range: expected two numbers, the lower first"):
        diagnose(log_of({"entropy": SPENT, "reward": SPENT}), reward_range=declared)


def solved(share):
    return 0.3 + (share - 0.3) * np.clip(np.linspace(0, 2, N), 0, 1)


@pytest.mark.parametrize(("share", "verdict"), [(0.96, "healthy"), (0.7, "collapse")])
def test_solved_is_relative_to_the_scale(share, verdict):
    r = solved(share)
    ones = np.ones(N)
    for courses, declared in (
        ({"reward": r}, None),
        ({"reward": 2 * r - 1}, None),
        ({"reward": 2 * r - 1, "reward_dot_max": ones, "reward_dot_min": -ones}, None),
        ({"reward": 10 * r, "reward_dot_max": 10 * ones}, None),
        ({"reward": 7 * r - 2}, (-2, 5)),
    ):
        assert diagnose(log_of({"entropy": SPENT} | courses), reward_range=declared).verdict == verdict, courses


def test_where_the_top_is_not_known_only_flat_groups_tell_that_it_is_reached():
    r = 2 * solved(0.98)
    assert diagnose(log_of({"entropy": SPENT, "reward": r})).verdict == "collapse"
    flat = np.linspace(0.2, 0.93, N)
    told = [f.verdict for f in diagnose(log_of({"entropy": SPENT, "reward": r, "zero_variance": flat})).findings]
    assert told == ["healthy", "too-easy"]
    always = np.full(N, 0.93)  # flat from the start: not because of what was learnt
    assert diagnose(log_of({"entropy": SPENT, "reward": r, "zero_variance": always})).verdict == "collapse"


def test_a_fall_within_the_noise_is_none():
    """Right once in nine steps of many completions: 0.001 to 0.000 is no crash."""
    rare = np.where(np.arange(N) % 9 == 0, 0.004, 0.0)
    rare[-20:] = 0.0
    told = [f.verdict for f in diagnose(log_of({"entropy": np.linspace(0.52, 0.5, N), "reward": rare})).findings]
    assert told == ["no-signal"]


def test_a_crash_of_signed_rewards():
    fell = np.concatenate([np.linspace(-0.5, 0.6, 40), np.full(40, -0.98)])
    d = diagnose(log_of({"entropy": np.linspace(0.5, 0.45, N), "reward": fell}))
    assert (d.verdict, d.findings[0].onset) == ("collapse", 40.0)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40), st.floats(0, 0.5))
def test_any_rewards_have_a_scale(values, floor):
    scale = scale_of(trend(values), None, None, None, floor)
    assert scale.span > 0
    assert np.isfinite(scale.share(values[-1]))
