"""Whatever numbers stand under whatever names: one of the verdicts, no warning, no exception, plain JSON."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.cli.diagnosis import shown
from entrokit.diagnose import VERDICTS, diagnose

from .logs import log_of

NAMES = [
    *("entropy", "trainer_entropy", "sampler_surprise", "reward", "reward.min", "reward.max", "reward.group_std"),
    *("accuracy", "validation", "validation/a", "validation/b", "length", "terminated_length", "truncated"),
    *("zero_variance", "kl", "kl.position/0", "kl.position/1", "kl.position/2", "grad_norm", "loss", "eval_loss"),
    *("clip_share", "clip_share.low", "clip_share.high", "advantage.std", "sampler_logp_gap", "sampler_prob_gap"),
    *("sampler_correlation", "sampler_kl", "sampler_logp", "trainer_logp", "repetition", "value_loss"),
    *("reward.part/accuracy", "reward.part/format", "reward/code", "reward/maths", "entropy/code", "ratio.max"),
]
EDGES = [0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, 5e-324, float("nan"), float("inf"), -float("inf")]
SHAPES = ("flat", "line", "step", "noise", "edges", "spikes")


def course(shape, n, low, high, seed):
    rng = np.random.default_rng(seed)
    match shape:
        case "flat":
            return np.full(n, low)
        case "line":
            return np.linspace(low, high, n)
        case "step":
            return np.where(np.arange(n) < rng.integers(0, n + 1), low, high)
        case "noise":
            return rng.uniform(min(low, high), max(low, high), n)
        case "spikes":
            return np.where(rng.random(n) < 0.1, high, low)
        case _:
            return rng.choice(EDGES, n)


number = st.sampled_from([0.0, 0.3, 1.0, -1.0, 7.0, 900.0, 1e-9, 1e9, 1e300, -1e300]) | st.floats(-10, 10)
COURSES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(SHAPES), number, number, st.integers(0, 99)), max_size=14
)


@given(COURSES, st.sampled_from([1, 2, 3, 5, 11, 30, 120, 250]), st.sampled_from(["rl", "supervised", "unknown"]))
@settings(max_examples=400, deadline=None)
def test_any_series(courses, n, kind):
    log = log_of({name: course(shape, n, a, b, seed) for name, (shape, a, b, seed) in courses.items()}, kind=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        d = diagnose(log)
        shown(d)
        data = json.loads(d.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert data["verdict"] in VERDICTS
    assert len({(f.verdict, f.cause) for f in d.findings}) == len(d.findings)
    assert d.findings[0].evidence
