"""A reward that goes: whose fault it is, and one that falls without being lost altogether."""

import numpy as np
import pytest

from entrokit.diagnose import diagnose

from .logs import log_of

N = 120
RNG = np.random.default_rng(0)


def noisy(course, spread):
    return np.asarray(course) + spread * RNG.normal(size=len(course))


def lost_at(step, before=0.5, after=0.0):
    return noisy(np.where(np.arange(N) < step, before, after), 0.01)


def calm():
    return {"entropy": noisy(np.full(N, 0.5), 0.01), "kl": noisy(np.full(N, 0.05), 0.001)}


def causes(**courses):
    return [f.cause for f in diagnose(log_of(courses)).findings]


def test_a_verifier_that_dies_is_not_the_policys_fault():
    found = diagnose(log_of(calm() | {"reward": lost_at(70)})).findings[0]
    assert found.cause == "the reward was lost at once, and the policy did not jump"
    assert found.onset == pytest.approx(70, abs=1)
    assert "score completions from before and after" in found.remedies[0].text


@pytest.mark.parametrize("moved", ["entropy", "kl"])
def test_a_policy_that_jumps_with_it_fell_apart(moved):
    courses = calm() | {"reward": lost_at(70)}
    courses[moved] = courses[moved] * np.where(np.arange(N) < 70, 1.0, 0.4)
    assert causes(**courses)[0] == "the policy fell apart: steps too large"


def test_a_reward_that_is_lost_slowly_is_not_a_verifier_that_died():
    slowly = noisy(np.interp(np.arange(N), [0, 40, 90, N], [0.5, 0.5, 0.0, 0.0]), 0.01)
    assert causes(**calm(), reward=slowly)[0] == "the policy fell apart: steps too large"


def test_of_a_reward_alone_the_cause_is_not_told():
    assert causes(reward=lost_at(60))[0] == "the reward was lost"


@pytest.mark.parametrize("end", [0.3, 0.1])
def test_a_reward_that_falls_is_told(end):
    falls = noisy(np.interp(np.arange(N), [0, 30, N], [0.3, 0.65, end]), 0.02)
    assert ("the reward falls" in causes(**calm(), reward=falls)) == (end < 0.65 * 0.6)


def test_a_reward_that_comes_back_does_not_fall():
    back = noisy(np.interp(np.arange(N), [0, 30, 60, 96, N], [0.3, 0.65, 0.1, 0.15, 0.5]), 0.01)
    assert "the reward falls" not in causes(**calm(), reward=back)


def test_a_fall_on_an_unknown_scale_is_measured_by_its_height():
    def score(end):
        return noisy(np.interp(np.arange(N), [0, 30, N], [20.0, 40.0, end]), 0.5)

    assert "the reward falls" in causes(**calm(), reward=score(15.0))
    assert "the reward falls" not in causes(**calm(), reward=score(30.0))
