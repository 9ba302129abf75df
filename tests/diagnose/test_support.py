"""The Invisible Leash (sheet `invisible-leash`): its worked numbers, identities and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.diagnose import (
    SupportReport,
    answer_entropy,
    beta_for_target,
    detection_threshold,
    empirical_support,
    net_change_interval,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_interval,
    reward_tilt,
    support_dynamics,
    token_entropy,
)

Q = np.array([0.5, 0.3, 0.1, 0.06, 0.04])
RIGHT = np.array([0.0, 0.0, 1.0, 1.0, 1.0])


def shannon(p):
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


@pytest.mark.parametrize(
    ("counts", "rates"),
    [
        ((17, 3, 2), (0.894737, 0.15, 0.256927, 0.045455)),
        ((14, 5, 1), (0.933333, 0.263158, 0.410557, 0.2)),
        ((2400, 36, 163), (0.936403, 0.014778, 0.029097, -0.048865)),
        ((761, 83, 104), (0.879769, 0.098341, 0.176908, -0.022152)),
        ((4, 2, 3), (0.571429, 0.333333, 0.421053, -0.111111)),
        ((40, 0, 0), (1.0, 0.0, 0.0, 0.0)),
    ],
)
def test_check_1_rates(counts, rates):
    s = SupportReport(*counts, 0)
    assert (s.retention, s.discovery, s.dynamics, s.net_change) == pytest.approx(rates, abs=1e-6)


def test_nothing_ever_inside_has_no_rates():
    s = SupportReport(0, 0, 0, 5)
    assert all(math.isnan(x) for x in (s.retention, s.discovery, s.dynamics, s.net_change))
    assert SupportReport(0, 3, 2, 0).dynamics == 0.0


def test_check_2_table_and_swap():
    base = [1] * 17 + [0] * 3 + [1] * 2 + [0] * 8
    new = [1] * 17 + [1] * 3 + [0] * 2 + [0] * 8
    s = support_dynamics(base, new)
    assert s == SupportReport(17, 3, 2, 8)
    assert pass_at_k(base, 1, 1) == pytest.approx(0.6333, abs=1e-4)
    assert pass_at_k(new, 1, 1) == pytest.approx(0.6667, abs=1e-4)
    swapped = support_dynamics(new, base)
    assert (swapped.expanded, swapped.shrunk) == (s.shrunk, s.expanded)
    assert swapped.net_change == pytest.approx(-s.net_change)
    found = net_change_interval(base, new)
    assert found.value == s.net_change
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("n", "c", "k", "value"),
    [(10, 3, 1, 0.3), (10, 3, 5, 0.916667), (32, 1, 8, 0.25), (32, 1, 32, 1), (100, 2, 50, 0.752525), (8, 0, 4, 0)],
)
def test_check_3_pass_at_k(n, c, k, value):
    assert pass_at_k([c], n, k) == pytest.approx(value, abs=1e-6)


@given(st.floats(0.05, 0.95), st.integers(1, 8))
def test_check_3_averages_to_the_truth(p, k):
    n = 8
    weights = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    mean = sum(w * pass_at_k([c], n, k) for c, w in enumerate(weights))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-9)


def test_curve_and_interval():
    table = np.array([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]] * 20)
    assert pass_at_k_curve(table, [1, 4]) == pytest.approx([5 / 12, 2 / 3])
    interval = pass_at_k_interval(table.sum(1).tolist(), 4, 1)
    assert interval.value == pytest.approx(5 / 12)
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.4249 / 60**0.5, rel=0.15)
    same = pass_at_k_interval([2, 2, 2], 4, 1)
    assert (same.low, same.high) == (0.5, 0.5)
    with pytest.raises(ValueError, match=r"expected \[prompts, attempts\]"):
        pass_at_k_curve([1, 0], [1])


def test_check_4_threshold():
    assert detection_threshold(8192) == pytest.approx(3.6569e-4, rel=1e-4)
    assert detection_threshold(8192, exact=True) == pytest.approx(3.6562e-4, rel=1e-4)
    assert detection_threshold(1024) == pytest.approx(0.00292552, rel=1e-5)
    assert detection_threshold(1024, exact=True) == pytest.approx(0.00292124, rel=1e-5)
    assert detection_threshold(256) == pytest.approx(0.0117021, rel=1e-5)
    assert detection_threshold(256, exact=True) == pytest.approx(0.0116339, rel=1e-5)
    with pytest.raises(ValueError, match="k >= 1"):
        detection_threshold(0)


def test_check_5_two_entropies():
    assert answer_entropy(["A"] * 5 + ["B"] * 2 + ["NA"]) == pytest.approx(0.900256, abs=1e-6)
    assert answer_entropy(["A"] * 4) == 0.0
    assert answer_entropy(list("abcde")) == pytest.approx(math.log(5))
    entropy, mask = [[0.1, 0.2, 0.3], [1.0, 9.0, 9.0]], [[1, 1, 1], [1, 0, 0]]
    assert token_entropy(entropy, mask) == pytest.approx(0.6)
    for call, message in (
        (lambda: answer_entropy([]), "no answers"),
        (lambda: token_entropy([[1.0]], [[0]]), "mask is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_check_6_tilting_can_raise_entropy():
    """The paper's Theorem C.6(a) says that it cannot; `docs/errata.md`."""
    for beta, h in ((0, 1.235584), (0.5, 1.372822), (1, 1.485332), (2, 1.548570), (3, 1.418130), (5, 1.141427)):
        assert shannon(reward_tilt(Q, RIGHT, beta)) == pytest.approx(h, abs=1e-6)
    limit = reward_tilt(Q, RIGHT, 500.0)
    np.testing.assert_allclose(limit, [0, 0, 0.5, 0.3, 0.2], atol=1e-12)
    assert shannon(limit) == pytest.approx(1.029653, abs=1e-6)
    for beta, mass in ((1, 0.404610), (2, 0.648786), (5, 0.973756)):
        assert (reward_tilt(Q, RIGHT, beta) * RIGHT).sum() == pytest.approx(mass, abs=1e-6)
    uniform = reward_tilt(np.full(4, 0.25), [1.0, 1.0, 0.0, 0.0], 1.0)
    kl = float((uniform * np.log(uniform / 0.25)).sum())
    assert shannon(uniform) == pytest.approx(1.275350, abs=1e-6)
    assert shannon(uniform) == pytest.approx(math.log(4) - kl)


def test_check_6_derivative_of_the_entropy():
    beta, step = 1.3, 1e-5
    p = reward_tilt(Q, RIGHT, beta)
    covariance = float((p * RIGHT * np.log(p)).sum() - (p * RIGHT).sum() * (p * np.log(p)).sum())
    difference = (shannon(reward_tilt(Q, RIGHT, beta + step)) - shannon(reward_tilt(Q, RIGHT, beta - step))) / (
        2 * step
    )
    assert -covariance == pytest.approx(0.113385, abs=1e-6)
    assert difference == pytest.approx(-covariance, abs=1e-8)


@given(st.floats(0.05, 0.95))
def test_a_target_is_met_and_zeros_stay(rho):
    q = np.array([0.5, 0.3, 0.2, 0.0])
    p = reward_tilt(q, [0, 0, 1, 1], beta_for_target(q, [0, 0, 1, 1], rho))
    assert p[2] == pytest.approx(rho)
    assert p[3] == 0.0
    with pytest.raises(ValueError, match="must lie in"):
        beta_for_target(q, [1, 1, 1, 1], rho)


def test_check_7_answers_at_a_threshold():
    eps, right = 3.66e-4, np.ones((2, 3), dtype=bool)
    base = empirical_support([[0.3, 0.002, 0], [0.0002, 0.1, 0.05]], right, eps)
    new = empirical_support([[0.3, 0.0001, 0.002], [0.001, 0.2, 0.0001]], right, eps)
    s = support_dynamics(base, new, unit="answer")
    assert s == SupportReport(2, 2, 2, 0)
    assert s.net_change == 0.0
    assert support_dynamics(base, new) == SupportReport(2, 0, 0, 0)
    with pytest.raises(ValueError, match="unit must be"):
        support_dynamics(base, new, unit="row")
    with pytest.raises(ValueError, match="of one shape"):
        support_dynamics([1, 0], [1])
