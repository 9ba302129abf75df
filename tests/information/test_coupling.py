"""Couplings: the sheet's numbers, exact marginals, the proven gap, and the brute-force optimum of small ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.information.coupling import (
    GREEDY_GAP_BITS,
    entropy_bits,
    information_bits,
    majorization_bound_bits,
    min_entropy_coupling,
)


def laws(seed, n, m):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


@pytest.mark.parametrize("masses", [[], [0.0, 0.0], [0.5, np.nan], [np.inf, 1.0], np.empty((0, 3))])
def test_the_entropy_of_nothing_is_not_certainty(masses):
    with pytest.raises(ValueError, match="entropy_bits: expected finite masses, one above 0"):
        entropy_bits(masses)
    assert entropy_bits([0.0, 1.0]) == 0.0
    with pytest.raises(ValueError, match="entropy_bits"):
        information_bits(np.zeros((2, 2)))


def test_check_4_worked_couplings():
    c = min_entropy_coupling([0.5, 0.3, 0.2], [0.6, 0.4])
    np.testing.assert_allclose(c.dense(), [[0.5, 0], [0, 0.3], [0.1, 0.1]], atol=1e-15)
    assert c.entropy_bits == pytest.approx(1.685475, abs=1e-6)
    assert c.information_bits == pytest.approx(0.770951, abs=1e-6)
    c = min_entropy_coupling([0.4, 0.3, 0.2, 0.1], [0.35, 0.35, 0.3])
    assert c.entropy_bits == pytest.approx(2.063865, abs=1e-6)
    assert c.information_bits == pytest.approx(1.363865, abs=1e-6)


@pytest.mark.parametrize("method", ["max", "zero"])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), m=st.integers(1, 40))
def test_marginals_are_exact_cells_are_few_and_the_gap_is_as_proven(method, seed, n, m):
    p, q = laws(seed, n, m)
    c = min_entropy_coupling(p, q, method)
    joint = c.dense()
    np.testing.assert_allclose(joint.sum(1), p, atol=1e-12)
    np.testing.assert_allclose(joint.sum(0), q, atol=1e-12)
    assert len(c.mass) <= n + m - 1
    bound = majorization_bound_bits(p, q)
    assert max(entropy_bits(p), entropy_bits(q)) <= bound + 1e-9 <= c.entropy_bits + 2e-9
    if method == "max":
        assert c.entropy_bits - bound <= GREEDY_GAP_BITS
    assert c.information_bits == pytest.approx(information_bits(joint), abs=1e-9)


def optimum(p, q):
    """Least entropy over the vertices of the transportation polytope: some order of filling cells gives each."""
    best = np.inf
    for order in itertools.permutations(range(len(p) * len(q))):
        a, b, masses = list(p), list(q), []
        for cell in order:
            x, y = divmod(cell, len(q))
            mass = min(a[x], b[y])
            a[x] -= mass
            b[y] -= mass
            masses.append(mass)
        best = min(best, entropy_bits(masses))
    return best


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_better_than_the_optimum_and_no_worse_than_the_guarantee(seed):
    p, q = laws(seed, 3, 2)
    best = optimum(p, q)
    for method in ("max", "zero"):
        found = min_entropy_coupling(p, q, method).entropy_bits
        assert best - 1e-9 <= found
    assert min_entropy_coupling(p, q).entropy_bits <= best + GREEDY_GAP_BITS
    assert majorization_bound_bits(p, q) <= best + 1e-9


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_relabelling_changes_no_entropy_and_equal_laws_couple_exactly(seed, n):
    p, q = laws(seed, n, 7)
    order = np.random.default_rng(seed).permutation(n)
    for method in ("max", "zero"):
        one, other = min_entropy_coupling(p, q, method), min_entropy_coupling(p[order], q, method)
        assert one.entropy_bits == pytest.approx(other.entropy_bits, abs=1e-9)
        assert min_entropy_coupling(p, p, method).entropy_bits == pytest.approx(entropy_bits(p), abs=1e-9)


def test_hundred_random_pairs_as_the_paper_orders_them():
    rng = np.random.default_rng(0)
    pairs = [[x / x.sum() for x in (rng.random(8), rng.random(8))] for _ in range(100)]
    mean = {m: np.mean([min_entropy_coupling(*pair, m).entropy_bits for pair in pairs]) for m in ("max", "zero")}
    independent = np.mean([entropy_bits(p) + entropy_bits(q) for p, q in pairs])
    assert independent == pytest.approx(5.46, abs=0.05)
    assert mean["max"] == pytest.approx(3.09, abs=0.02)
    assert mean["zero"] < mean["max"]


def test_degenerate_laws():
    assert min_entropy_coupling([1.0], [0.25] * 4).entropy_bits == 2.0
    c = min_entropy_coupling([0.0, 1.0, 0.0], [0.5, 0.0, 0.5])
    assert c.dense()[1].tolist() == [0.5, 0.0, 0.5]
    assert set(c.x.tolist()) == {1}


def test_ties_go_to_the_lowest_index():
    c = min_entropy_coupling([0.5, 0.5], [0.5, 0.5])
    assert list(zip(c.x.tolist(), c.y.tolist(), strict=True)) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([], "1-D vector"),
        ([[0.5, 0.5]], "1-D vector"),
        ([0.5, -0.5, 1.0], "1-D vector"),
        ([0.5, float("nan")], "1-D vector"),
        ([0.5, 0.4], "sum to 0.9"),
    ],
)
def test_what_is_no_law_is_refused(p, message):
    with pytest.raises(ValueError, match=message):
        min_entropy_coupling(p, [1.0])
    with pytest.raises(ValueError, match="unknown method"):
        min_entropy_coupling([1.0], [1.0], "min")
