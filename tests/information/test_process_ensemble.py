"""Path ensembles: the sheet's numbers, brute force over all paths, derivatives, and the second law."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.information.maxent import ProcessEnsemble, entropy_production

W = np.array([[0.8, 0.2, 0.0], [0.15, 0.75, 0.1], [0.0, 0.05, 0.95]])
F = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
U = np.array([0.0, 0.5, 1.0, 0.5, 0.0, -0.5])
START = np.array([1.0, 0.0, 0.0])
GLOBAL, CAUSAL = (ProcessEnsemble(W, START, F, U, mode) for mode in ("global", "causal"))


def paths(e):
    """Every path with its probability and its f_t, by brute force."""
    found = []
    for path in product(range(3), repeat=len(e.u) + 1):
        p, f = e.start[path[0]], []
        for t, (x, y) in enumerate(pairwise(path)):
            weight = W[x, y] * np.exp(e.u[t] * F[x, y])
            if e.mode == "causal":
                weight /= (W[x] * np.exp(e.u[t] * F[x])).sum()
            p *= weight
            f.append(F[x, y])
        if p > 0:
            found.append((p, f))
    return np.array([p for p, _ in found]), np.array([f for _, f in found])


def test_check_5_the_global_ensemble():
    weight, f = paths(GLOBAL)
    assert len(weight) == 169
    assert GLOBAL.log_z() == pytest.approx(0.286341, abs=1e-6)
    assert np.log(weight.sum()) == pytest.approx(GLOBAL.log_z())
    mean = [0.135982, 0.158774, 0.245149, 0.100641, 0.011270, -0.069464]
    assert GLOBAL.mean_f().tolist() == pytest.approx(mean, abs=1e-6)
    row = [0.117491, -0.041087, -0.032962, -0.015749, -0.007234, -0.002701]
    assert GLOBAL.covariance()[0].tolist() == pytest.approx(row, abs=1e-6)
    assert GLOBAL.caliber() == pytest.approx(-0.123247, abs=1e-6)
    p = weight / weight.sum()
    np.testing.assert_allclose(np.cov(f.T, aweights=p, ddof=0), GLOBAL.covariance(), atol=1e-12)
    np.testing.assert_allclose(GLOBAL.response(), GLOBAL.response().T, atol=1e-15)


def test_check_5_the_causal_ensemble():
    mean = [0.2, 0.214163, 0.213083, 0.054301, -0.020494, -0.065948]
    assert CAUSAL.mean_f().tolist() == pytest.approx(mean, abs=1e-6)
    column = [0.16, -0.062170, -0.044510, -0.018293, -0.008235, -0.003637]
    assert CAUSAL.response()[:, 0].tolist() == pytest.approx(column, abs=1e-6)
    assert not np.triu(CAUSAL.response(), 1).any()
    p, f = paths(CAUSAL)
    assert p.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(p @ f, CAUSAL.mean_f(), atol=1e-12)
    np.testing.assert_allclose(np.cov(f.T, aweights=p, ddof=0), CAUSAL.covariance(), atol=1e-12)


@pytest.mark.parametrize("e", [GLOBAL, CAUSAL], ids=["global", "causal"])
def test_check_6_responses_are_derivatives(e):
    eps = 1e-5
    for s in range(6):
        up, down = (replace(e, u=U + sign * eps * np.eye(6)[s]) for sign in (1, -1))
        np.testing.assert_allclose((up.mean_f() - down.mean_f()) / (2 * eps), e.response()[:, s], atol=1e-8)
        if e.mode == "global":
            assert (up.log_z() - down.log_z()) / (2 * eps) == pytest.approx(e.mean_f()[s], abs=1e-8)


@pytest.mark.parametrize("e", [GLOBAL, CAUSAL], ids=["global", "causal"])
def test_caliber_is_minus_the_relative_entropy_of_paths(e):
    weight, _ = paths(e)
    reference, _ = paths(replace(e, u=np.zeros(6)))
    p = weight / weight.sum()
    assert e.caliber() == pytest.approx(-(p @ np.log(p / reference)), abs=1e-12)
    assert replace(e, u=np.zeros(6)).caliber() == pytest.approx(0.0, abs=1e-15)


def test_both_ensembles_are_one_where_every_state_is_driven_alike():
    everywhere = np.broadcast_to(np.array([0.3, -0.2, 0.1]), (3, 3)) * 0 + 1.0
    one, other = (ProcessEnsemble(W, START, everywhere, U, m) for m in ("global", "causal"))
    np.testing.assert_allclose(one.kernels, other.kernels, atol=1e-12)


def test_forbidden_steps_stay_forbidden_whatever_f_is_there():
    wild = np.where(W == 0, np.inf, F)
    e = ProcessEnsemble(W, START, np.where(np.isinf(wild), 1e6, wild), U)
    assert not e.kernels[:, 0, 2].any()
    assert np.isfinite(e.kernels).all()


def test_check_7_entropy_production():
    for a, expected in ((0.0, 0.0), (0.5, 0.050522), (1.0, 0.208438)):
        ring = np.zeros((3, 3))
        for i in range(3):
            ring[i, (i + 1) % 3], ring[i, (i - 1) % 3] = 0.2 * np.exp(a / 2), 0.2 * np.exp(-a / 2)
            ring[i, i] = 1 - ring[i].sum()
        assert entropy_production(np.full(3, 1 / 3), ring) == pytest.approx(expected, abs=1e-6)
    stationary = np.array([0.2, 0.266667, 0.533333])
    assert entropy_production(stationary, W) == pytest.approx(0.0, abs=1e-10)
    laws = ProcessEnsemble(W, START, F, np.zeros(5)).marginals
    exact = np.array([3, 4, 8]) / 15
    divergence = [float((p[p > 0] * np.log(p[p > 0] / exact[p > 0])).sum()) for p in laws]
    assert divergence == pytest.approx([1.609438, 1.051499, 0.791013, 0.622209, 0.498264, 0.402566], abs=1e-6)
    assert entropy_production(START, np.array([[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])) == float("inf")


@given(st.integers(0, 2**32 - 1))
def test_the_second_law_holds_for_any_transient(seed):
    rng = np.random.default_rng(seed)
    kernel, p = rng.dirichlet(np.ones(4), size=4), rng.dirichlet(np.ones(4))
    assert entropy_production(p, kernel) >= 0
    e = ProcessEnsemble(kernel, p, rng.normal(size=(4, 4)), rng.normal(size=3))
    assert (e.entropy_production() >= 0).all()


def test_samples_follow_the_law():
    drawn = GLOBAL.sample(20_000, np.random.default_rng(0))
    for t in range(7):
        share = np.bincount(drawn[:, t], minlength=3) / len(drawn)
        np.testing.assert_allclose(share, GLOBAL.marginals[t], atol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": W * 2}, "rows that sum to 1"),
        ({"start": np.array([0.5, 0.0, 0.0])}, "a law over 3 states"),
        ({"f": F[:2]}, "f \\[X, X\\]"),
        ({"u": np.zeros(0)}, "u \\[T\\]"),
        ({"mode": "both"}, "must be one of"),
    ],
)
def test_what_is_no_process_is_refused(change, message):
    given = {"kernel": W, "start": START, "f": F, "u": U} | change
    with pytest.raises(ValueError, match=message):
        ProcessEnsemble(**given)
