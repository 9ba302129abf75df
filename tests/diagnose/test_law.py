"""The law of a run: intervals that cover the truth, and doubts where it is not to be trusted."""

import numpy as np
import pytest

from entrokit.diagnose import law_of_run


def run(seed, a=0.25, b=0.6, noise=0.01, n=120, high=1.2, low=0.3):
    rng = np.random.default_rng(seed)
    h = np.linspace(high, low, n) + 0.01 * rng.normal(size=n)
    return h, b - a * np.exp(h) + noise * rng.normal(size=n)


def test_intervals_cover_the_truth():
    inside = 0
    for seed in range(60):
        found = law_of_run(*run(seed), seed=seed)
        assert found.trusted
        inside += found.ceiling[0] <= 0.35 <= found.ceiling[1]
    assert inside >= 50  # 95 % would be 57; blocks of neighbours cost some


def test_how_far_the_run_is_from_its_ceiling():
    h, r = run(0, noise=0.0)
    found = law_of_run(h, r)
    assert found.law.ceiling == pytest.approx(0.35, abs=1e-6)
    assert found.distance == pytest.approx(0.35 - r[-12:].mean(), abs=1e-6)
    earlier = law_of_run(h[:40], r[:40])  # fitted online, on what there was then
    assert earlier.law.ceiling == pytest.approx(0.35, abs=1e-6)


@pytest.mark.parametrize(
    ("course", "doubt"),
    [
        (run(0, a=-0.2), "reward does not fall as entropy rises"),
        (run(0, noise=0.5), "the law explains"),
        (run(0, high=0.52, low=0.5), "entropy has hardly moved"),
        (run(0, n=8), "8 points are few"),
    ],
)
def test_doubts(course, doubt):
    found = law_of_run(*course)
    assert not found.trusted
    assert any(doubt in d for d in found.doubts)
