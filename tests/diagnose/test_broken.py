"""NaN and infinity: what breaks a run, what is legitimate, what turned first."""

import json

import numpy as np
import pytest

from entrokit.diagnose import diagnose

from .logs import log_of

N = 60
SOUND = {"entropy": np.linspace(0.6, 0.5, N), "reward": np.linspace(0.2, 0.5, N)}


def broken_from(step, values=None, by=np.nan):
    out = np.full(N, 0.1) if values is None else np.array(values, dtype=float)
    out[step:] = by
    return out


def verdicts(**courses):
    return [f.verdict for f in diagnose(log_of(SOUND | courses)).findings]


def test_what_turned_first_is_named_with_step_and_count():
    d = diagnose(
        log_of(
            {
                "loss": broken_from(33),
                "grad_norm": broken_from(31),
                "kl": broken_from(31, by=np.inf),
                "entropy": broken_from(33, SOUND["entropy"]),
                "reward": SOUND["reward"],
            }
        )
    )
    first = d.findings[0]
    assert (first.verdict, first.onset) == ("broken-numbers", 31.0)
    assert first.cause == "grad_norm, kl turned NaN at step 31"
    assert "grad_norm is NaN from step 31 on, 29 points; it was 0.1 before" in first.evidence
    assert "kl is infinite from step 31 on, 29 points; it was 0.1 before" in first.evidence
    assert "grad_norm and kl turned first, at one step" in first.evidence
    data = json.loads(d.to_json())
    assert data["onset"] == 31.0


def test_the_rest_is_judged_by_what_came_before():
    """After the break nothing ends any more, and the reward is 0: both follow from it."""
    d = diagnose(
        log_of(
            {
                "loss": broken_from(30),
                "entropy": SOUND["entropy"],
                "reward": broken_from(30, SOUND["reward"], 0.0),
                "truncated": broken_from(30, np.zeros(N), 1.0),
            }
        )
    )
    assert [f.verdict for f in d.findings] == ["broken-numbers"]


def test_a_spike_just_before_is_evidence():
    norm = np.full(N, 0.2)
    norm[28] = 7.0
    d = diagnose(log_of(SOUND | {"loss": broken_from(30), "grad_norm": norm}))
    assert "grad_norm was 7 at step 28, just before (35 times usual)" in d.findings[0].evidence
    norm[28] = 0.9  # 4.5 times: no spike
    d = diagnose(log_of(SOUND | {"loss": broken_from(30), "grad_norm": norm}))
    assert not any("just before" in e for e in d.findings[0].evidence)


@pytest.mark.parametrize(
    "courses",
    [
        {"kl": np.r_[np.nan, np.full(N - 1, 0.01)]},
        {"grad_norm": np.r_[np.full(20, 0.3), np.nan, np.full(N - 21, 0.3)]},
        {"grad_norm": np.r_[np.full(5, np.inf), np.full(N - 5, 0.3)]},
        {"accuracy": np.where(np.arange(N) % 5, np.nan, 0.3)},
        {"reward": np.where(np.arange(N) % 2, np.nan, SOUND["reward"])},
        {"terminated_length": broken_from(30)},
        {"reward__hard": broken_from(50)},
        {"reward_dot_part__code": np.full(N, np.nan)},
        {"kl": np.full(N, np.nan)},
        {"sampler_correlation": broken_from(20, np.full(N, 0.99))},
        {"grad_norm": np.r_[np.full(N - 1, 0.3), np.inf]},
    ],
)
def test_what_is_legitimate_or_recovered_breaks_no_run(courses):
    assert verdicts(**courses) == ["healthy"]


@pytest.mark.parametrize(
    "courses",
    [
        {"grad_norm": np.r_[np.full(N - 1, 0.3), np.nan]},
        {"kl": broken_from(N - 2, by=np.inf)},
        {"loss": np.full(N, np.nan)},
        {"grad_norm": np.where(np.isin(np.arange(N), [20, 30, 40]), np.nan, 0.3)},
        {"reward": broken_from(40, SOUND["reward"])},
        {"sampler_kl": broken_from(40)},
    ],
)
def test_what_breaks_a_run(courses):
    assert verdicts(**courses)[0] == "broken-numbers"


def test_updates_that_break_and_come_back_say_so():
    d = diagnose(log_of(SOUND | {"grad_norm": np.where(np.isin(np.arange(N), [20, 30, 40]), np.nan, 0.3)}))
    assert d.findings[0].cause == "updates break and come back"


def test_columns_without_numbers_and_points_that_came_back_are_told():
    d = diagnose(log_of(SOUND | {"kl": np.full(N, np.nan), "loss": np.r_[np.nan, np.zeros(N - 1)]}))
    assert "kl is nan at all 60 points: it is not computed" in d.notes
    assert "loss is nan at 1 of its points (step 0, and numbers came again)" in d.notes


def test_nothing_but_nan():
    nothing = np.full(N, np.nan)
    d = diagnose(log_of({"loss": nothing, "entropy": nothing, "reward": nothing}))
    assert d.verdict == "broken-numbers"
    json.loads(d.to_json(), parse_constant=lambda name: pytest.fail(name))
