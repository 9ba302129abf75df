"""Saddle points: the sheet's values, limits, stationarity, quadrature against SciPy's, and what is no solution."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.dynamics.franz_parisi import (
    SaddlePointError,
    first_task_residual,
    solve_first_task,
    solve_second_task,
)
from entrokit.dynamics.franz_parisi.energy import energy
from entrokit.dynamics.franz_parisi.quadrature import field_grid, gaussian_grid
from entrokit.dynamics.franz_parisi.single_site import density, moments

first = cache(solve_first_task)


@cache
def second(r0, gamma=1.0, alpha2=0.6):
    return solve_second_task(first(0.8, 20.0), alpha2, 20.0, r0, gamma)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.2, (0.25574, 0.17420, 0.48386, 0.42675)), (0.4, (0.45355, 0.31653, 0.61802, 0.37621))],
)
def test_check_5_first_task(alpha, expected):
    found = first(alpha, 20.0)
    assert (found.q, found.r, found.Q, found.e1) == pytest.approx(expected, abs=2e-5)
    assert found.e2 is None


def test_check_5_where_the_sheet_s_nodes_are_too_few():
    found = first(0.6, 20.0)
    assert (found.q, found.r, found.Q, found.e1) == pytest.approx((0.6186, 0.4360, 0.7382, 0.3369), abs=1e-4)
    # The sheet has q = .7580 and Q = .8438 to ± 1e-3, which 201 nodes of Gauss-Hermite give.
    found = first(0.8, 20.0)
    assert (found.q, found.Q) == pytest.approx((0.754943, 0.842129), abs=2e-6)
    assert (found.r, found.e1) == pytest.approx((0.5320, 0.3067), abs=1e-3)
    # There √q̂ = 6.3 and the rule's nodes are 0.22 apart: it steps over how ⟨m⟩ turns, by 5e-4 in every iteration.
    hats, z = (39.236, 5.028, 23.863), np.polynomial.hermite_e.hermegauss(201)
    by_gauss_hermite = mean_square(hats, *(torch.from_numpy(a) for a in z))
    assert by_gauss_hermite == pytest.approx(0.7580, abs=1e-4)
    exact = mean_square(hats, *gaussian_grid(400))
    assert exact == pytest.approx(mean_square(hats, *gaussian_grid(801)), abs=1e-9)
    assert by_gauss_hermite - exact == pytest.approx(4.6e-4, abs=1e-5)


def mean_square(hats, z, weight):
    """E⟨m⟩²."""
    q_hat, r_hat, Q_hat = hats
    mean = moments(math.sqrt(q_hat) * z + r_hat, Q_hat - q_hat / 2, 0.0, 400).mean
    return float(weight @ mean.square() / weight.sum())


@pytest.mark.parametrize(
    ("r0", "gamma", "e1", "e2"),
    [
        (0.0, 1.0, 0.3306, 0.4685),
        (0.5, 1.0, 0.3100, 0.3840),
        (-0.5, 1.0, 0.3492, 0.5499),
        (0.0, 0.1, 0.4341, 0.3664),
    ],
)
def test_check_6_second_task(r0, gamma, e1, e2):
    found = second(r0, gamma)
    assert (found.e1, found.e2) == pytest.approx((e1, e2), abs=1e-3)
    assert found.residual < 1e-6


@settings(max_examples=4)
@given(st.floats(0.05, 1.0), st.sampled_from([2.0, 20.0, 50.0]))
def test_check_4_bounds_and_residual(alpha, beta):
    found = solve_first_task(alpha, beta)
    assert found.r**2 <= found.q <= found.Q < 1
    assert 0 < found.e1 < 0.5
    assert found.residual < 1e-6
    assert first_task_residual(found) < 1e-5
    assert min(found.q_hat, found.r_hat, found.Q_hat) > 0


def test_check_4_limits():
    found = solve_first_task(0.0, 20.0)
    assert (found.q, found.r, found.Q, found.e1) == pytest.approx((0.0, 0.0, 1 / 3, 0.5), abs=1e-9)
    assert found.phi == pytest.approx(0.0, abs=1e-9)
    found = first(0.7, 1.0)
    assert found.Q_hat == 0.0
    assert found.q_hat > 0


def test_without_the_kl_the_second_task_is_a_first_one():
    found, alone = second(0.5, 0.0), first(0.6, 20.0)
    assert (found.q, found.r, found.Q, found.phi) == pytest.approx((alone.q, alone.r, alone.Q, alone.phi), abs=2e-6)
    assert found.e2 == pytest.approx(alone.e1, abs=2e-6)
    # All that is known of teacher 1 comes from its overlap with teacher 2.
    assert math.cos(math.pi * found.e1) == pytest.approx(0.5 * math.cos(math.pi * alone.e1), abs=2e-6)


def test_without_a_second_task_or_with_a_strong_kl_the_first_is_kept():
    before = first(0.8, 20.0)
    found = second(1.0, 10.0, 0.1)
    # The law of m given m₁ has the width √((1 - m₁²)/βγ), and its mean is off by its square, 5e-3, at most.
    assert (found.r, found.e1) == pytest.approx((before.r, before.e1), abs=5e-3)
    assert found.e2 == pytest.approx(found.e1, abs=1e-6)
    idle = second(0.3, 1.0, 0.0)
    assert idle.r == pytest.approx(0.3 * math.sqrt(idle.r**2 / 0.09), abs=1e-6)
    assert (idle.q_hat, idle.r_hat, idle.Q_hat) == (0.0, 0.0, 0.0)
    assert idle.e1 == pytest.approx(before.e1, abs=0.02)
    # The mean of ln ∫dm/2 e^{-βγ KL}, which is below 0: without its normalisation it would be larger by βγ ln 2.
    assert -20 * math.log(2) < idle.phi < 0
    assert math.cos(math.pi * idle.e2) == pytest.approx(0.3 * math.cos(math.pi * idle.e1), abs=1e-6)


def test_solutions_are_stationary_points_of_the_free_entropy():
    """φ of q, r, Q with hats held, and of hats with q, r, Q held, by differences: the reconstruction of the sheet."""
    s, step = first(0.4, 20.0), 1e-4

    def phi(q, r, Q, q_hat, r_hat, Q_hat):
        z, weight = gaussian_grid(101)
        S = weight @ moments(math.sqrt(q_hat) * z + r_hat, Q_hat - q_hat / 2, 0.0, 160).log_z
        return q_hat * q / 2 - r_hat * r - Q_hat * Q + float(S) + 0.4 * energy(q, r, Q, 20.0, 81).value

    at = [s.q, s.r, s.Q, s.q_hat, s.r_hat, s.Q_hat]
    assert phi(*at) == pytest.approx(s.phi, abs=1e-9)
    for i in range(6):
        up, down = ([v + sign * step * (i == k) for k, v in enumerate(at)] for sign in (1, -1))
        # Third derivatives are below 1e4 here, and 1e4 step² / 6 = 2e-5; a wrong sign is off by the hats, 0.3 to 11.
        assert (phi(*up) - phi(*down)) / (2 * step) == pytest.approx(0.0, abs=1e-4)
        assert abs(phi(*[v * 1.05 if k == i else v for k, v in enumerate(at)]) - s.phi) > 1e-6


@pytest.mark.parametrize("beta", [1.0, 20.0])
def test_derivatives_of_the_energy_by_differences(beta):
    q, r, Q, step = 0.5, 0.35, 0.65, 1e-4
    exact = energy(q, r, Q, beta, 81).gradient
    for i in range(3):
        up, down = ([v + s * step * (i == k) for k, v in enumerate((q, r, Q))] for s in (1, -1))
        slope = (energy(*up, beta, 81).value - energy(*down, beta, 81).value) / (2 * step)
        assert slope == pytest.approx(exact[i], rel=1e-5, abs=1e-7)


def test_integrals_are_scipy_s():
    integrate, special = pytest.importorskip("scipy.integrate"), pytest.importorskip("scipy.special")
    q, r, Q, beta = 0.755, 0.532, 0.842, 20.0

    def gauss(z):
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def inner(h):
        def f(x):
            return math.exp(beta * special.log_ndtr(-(math.sqrt(Q - q) * x + h) / math.sqrt(1 - Q)) - x * x / 2)

        return math.log(integrate.quad(f, -25, 10, epsabs=0, epsrel=1e-10, limit=200)[0] / math.sqrt(2 * math.pi))

    def outer(z):
        return gauss(z) * math.exp(special.log_ndtr(-z * r / math.sqrt(q - r * r))) * inner(math.sqrt(q) * z)

    value = 2 * integrate.quad(outer, -6, 4, epsabs=1e-7, limit=200)[0]
    # Beyond lies Dz H ln⟨H^β⟩ of -6 (where ln is 0) and 4 (1e-4 · 2e-4 · 100): below 1e-5.
    assert energy(q, r, Q, beta, 41).value == pytest.approx(value, abs=2e-5)

    field, curvature, pull = 3.0, -1.5, 4.0

    def law(m):
        return 0.5 * math.exp(
            curvature * m * m + field * m + pull * (special.entr((1 + m) / 2) + special.entr((1 - m) / 2))
        )

    sums = [
        integrate.quad(lambda m, g=g: g(m) * law(m), -1, 1, epsabs=1e-12, points=[0.0])[0]
        for g in (lambda m: 1.0, lambda m: m, lambda m: m * m, lambda m: math.copysign(1.0, m))
    ]
    found = moments(torch.tensor([field], dtype=torch.float64), curvature, pull, 164)
    assert [float(v) for v in found] == pytest.approx([math.log(sums[0]), *(s / sums[0] for s in sums[1:])], abs=1e-9)


def test_laws_of_a_mean_that_are_known():
    field = torch.tensor([0.0, 2.0, -40.0], dtype=torch.float64)
    found = moments(field, 0.0, 0.0, 164)
    # Flat and tilted: sinh f / f, and its logarithmic derivative coth f - 1/f.
    assert found.log_z[1:].tolist() == pytest.approx([math.log(math.sinh(2) / 2), 40 - math.log(80)], abs=1e-9)
    assert found.mean.tolist() == pytest.approx([0.0, 1 / math.tanh(2) - 0.5, -1 + 1 / 40], abs=1e-9)
    assert float(found.square[0]) == pytest.approx(1 / 3, abs=1e-9)
    assert found.sign.tolist() == pytest.approx([0.0, math.tanh(1), -1.0], abs=1e-9)
    t, probability = density(field[1:2], torch.ones(1, dtype=torch.float64), 0.0, 164)
    assert float(probability.sum()) == pytest.approx(1.0)
    assert float(probability @ torch.tanh(t)) == pytest.approx(float(found.mean[1]), abs=1e-9)
    # Many fields are taken in parts.
    many = moments(torch.linspace(-3, 3, 9001, dtype=torch.float64), 0.0, 0.0, 42)
    assert float(many.mean[4500]) == pytest.approx(0.0, abs=1e-9)
    assert len(many.sign) == 9001


def test_grids_integrate_what_they_are_for():
    z, weight = gaussian_grid(41)
    for power, moment in ((0, 1.0), (2, 1.0), (4, 3.0), (6, 15.0)):
        assert float(weight @ z**power) == pytest.approx(moment, abs=1e-9)
    narrow, weight = gaussian_grid(41, 0.1)
    assert len(narrow) == 410
    assert float(weight @ torch.cos(20 * narrow)) == pytest.approx(math.exp(-200.0), abs=1e-9)
    t, weight = field_grid(164)
    assert len(t) == 164
    assert torch.equal(t, -t.flip(0))
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-9)


def test_a_finer_grid_changes_nothing():
    coarse, fine = first(0.4, 20.0), solve_first_task(0.4, 20.0, nodes=81)
    assert (coarse.q, coarse.r, coarse.Q) == pytest.approx((fine.q, fine.r, fine.Q), abs=2e-6)


def test_a_solution_that_is_none_raises_and_says_by_how_much():
    solution = first(0.8, 20.0)
    for change in ({"q": solution.q + 0.01}, {"Q_hat": solution.Q_hat + 1.0}, {"alpha": 0.7}, {"beta": 10.0}):
        wrong = replace(solution, **change)
        assert first_task_residual(wrong) > 1e-3
        with pytest.raises(SaddlePointError, match=r"misses the first task's equations by \S+e[+-]\d\d") as error:
            solve_second_task(wrong, 0.6, 20.0, 0.0)
        assert error.value.residual == pytest.approx(first_task_residual(wrong))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve_first_task(-0.1, 20.0), "alpha is patterns a weight"),
        (lambda: solve_first_task(math.nan, 20.0), "alpha is patterns a weight"),
        (lambda: solve_first_task(0.5, 0.0), "beta is an inverse temperature"),
        (lambda: solve_first_task(0.5, 20.0, nodes=5), "nodes must be at least 21, got 5"),
        (lambda: solve_second_task(first(0.2, 20.0), -1.0, 20.0, 0.0), "alpha"),
        (lambda: solve_second_task(first(0.2, 20.0), 0.6, 20.0, 1.1), "r0 is an overlap of teachers"),
        (lambda: solve_second_task(first(0.2, 20.0), 0.6, 20.0, 0.0, -1.0), "gamma weighs the KL"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
