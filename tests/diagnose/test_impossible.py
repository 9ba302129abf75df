"""Entropies that cannot be, and those that only look odd."""

import numpy as np
import pytest

from entrokit.cli.diagnosis import shown
from entrokit.diagnose import diagnose

from .logs import log_of

N = 60
REWARD, LENGTH = np.linspace(0.2, 0.5, N), np.linspace(900, 2500, N)
REAL = np.linspace(0.6, 0.4, N)


def of(entropy, config=None, **courses):
    return diagnose(log_of({"entropy": entropy, "reward": REWARD} | courses, config=config))


@pytest.mark.parametrize(
    ("entropy", "says"),
    [
        (-REAL, "below 0 at 60 of 60 points"),
        (REAL * LENGTH, "grows with the length of the completions"),
        (np.full(N, 40.0) + np.arange(N) % 3, "no vocabulary allows it (20 nats)"),
        (np.zeros(N), "entropy is 0 at all 60 points"),
        (np.full(N, 0.3), "entropy is 0.3 at all 60 points, to the last digit"),
    ],
)
def test_each_kind_is_named_and_the_rest_judged(entropy, says):
    d = of(entropy, length=LENGTH)
    assert [f.verdict for f in d.findings] == ["impossible-entropy", "healthy"]
    assert any(says in e for e in d.findings[0].evidence)
    assert d.findings[0].remedies
    assert "no entropy was written" not in d.missing


@pytest.mark.parametrize(
    "entropy",
    [
        np.where(np.arange(N) % 2, -1e-7, 1e-7) + np.linspace(3e-3, 0, N),  # rounding around 0
        np.where(np.arange(N) == 7, -0.1, REAL),  # one odd point
        np.where(np.arange(N) == 7, 50.0, REAL),
        np.linspace(11.0, 10.0, N),
    ],
)
def test_what_is_possible_is_believed(entropy):
    assert all(f.verdict != "impossible-entropy" for f in of(entropy).findings)


def test_the_vocabulary_bounds_it_where_it_is_known():
    eleven = np.linspace(11.5, 11.0, N)
    assert of(eleven, {"vocab_size": 32_000}).verdict == "impossible-entropy"
    assert of(eleven, {"vocab_size": 152_000}).verdict == "healthy"
    for odd in ("many", True, -5, 1, float("nan"), 1e300):
        assert of(eleven, {"vocab_size": odd}).verdict == "healthy"


def test_what_is_wrong_with_the_run_comes_first():
    d = of(np.zeros(N), truncated=np.linspace(0.1, 0.8, N))
    assert [f.verdict for f in d.findings] == ["truncation", "impossible-entropy"]


def test_a_start_at_nothing_prints_no_infinity():
    rising = np.concatenate([np.zeros(20), np.linspace(0, 3, 40)])
    for entropy in (np.zeros(N), rising, np.concatenate([np.zeros(59), [1e-3]])):
        d = of(entropy)
        text = " ".join(e for f in d.findings for e in f.evidence)
        assert "inf" not in text.replace("infinit", ""), text
        shown(d)


def test_small_entropies_are_printed_as_such():
    d = of(np.concatenate([np.full(20, 0.21), np.linspace(0.2, 4e-4, 20), np.full(20, 4e-4)]))
    assert "entropy fell from 0.21 to 0.0004 nats (0.2% of its start)" in d.findings[0].evidence
