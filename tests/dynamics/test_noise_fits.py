"""Power laws, the temperature where a quantity leaves its level, and phase diagrams."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.dynamics.noise import (
    Condition,
    Run,
    critical_temperature,
    fit_power_law,
    phase_diagram,
)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2))
def test_an_exact_law_is_found_exactly(a, b, c):
    x = np.array([[1.0, 2.0], [2.0, 1.0], [4.0, 8.0], [8.0, 3.0], [0.5, 5.0]])
    law = fit_power_law(x, math.exp(c) * x[:, 0] ** a * x[:, 1] ** b)
    assert law.exponents == pytest.approx((a, b), abs=1e-9)
    assert law.log_factor == pytest.approx(c, abs=1e-9)
    assert max(law.stderrs) < 1e-9
    with pytest.raises(ValueError, match="2 exponents"):
        _ = law.exponent


def test_the_error_is_that_of_repeated_fits():
    """Spread of the exponents of 800 noisy laws; its own relative error is 1/√(2·800), five of which are 12.5 %."""
    x, rng = np.array([1.0, 2, 4, 8, 16, 32]), np.random.default_rng(0)
    laws = [fit_power_law(x, 3 * x**1.5 * np.exp(rng.normal(0, 0.2, 6))) for _ in range(800)]
    exponents, errors = np.array([(law.exponent, law.stderr) for law in laws]).T
    assert exponents.mean() == pytest.approx(1.5, abs=5 * exponents.std() / math.sqrt(800))
    assert np.sqrt((errors**2).mean()) == pytest.approx(exponents.std(), rel=0.125)
    assert np.sqrt(np.mean([law.residual**2 for law in laws])) == pytest.approx(0.2, rel=0.125)


def test_points_that_do_not_count_are_left_out():
    x, y = [1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, math.inf]
    law = fit_power_law(x, y, keep=[True, True, True, False])
    assert (law.points, law.exponent) == (3, pytest.approx(1))
    assert fit_power_law(x, y, keep=[1, 1, 1, 0]) == law
    with pytest.raises(ValueError, match="y must be positive and finite"):
        fit_power_law(x, y)


@pytest.mark.parametrize(
    ("x", "y", "keep", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], None, "at least 3 points, got 2"),
        ([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], None, "x must be positive"),
        ([1.0, 2.0, 3.0], [1.0, -2.0, 3.0], None, "y must be positive"),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], None, "x does not vary"),
        ([[1, 2], [2, 4], [3, 6], [5, 10]], [1, 2, 3, 4], None, "vary only together"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], None, r"needs x \[n\]"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [True], "keep must be"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [True, True, False], "at least 3 points, got 2"),
    ],
)
def test_laws_that_cannot_be_fitted_are_refused(x, y, keep, message):
    with pytest.raises(ValueError, match=message):
        fit_power_law(x, y, keep=keep)


def test_critical_temperature():
    temps = [2.0**k for k in range(6)]
    assert critical_temperature(temps, [t**2 for t in temps], 10.0) == pytest.approx(math.sqrt(10), rel=1e-12)
    assert critical_temperature(temps, [1.0] * 6, 2.0) is None
    assert critical_temperature(temps, [3.0] * 6, 2.0) == 1.0
    assert critical_temperature(temps, [1, 1, math.nan, 1, 1, 1], 2.0) == 4.0
    assert critical_temperature([1.0, 2.0], [1.0, 3.0], 3.0) == 2.0
    for t, v, level, message in (
        ([1.0], [1.0], 1.0, "two or more"),
        ([2.0, 1.0], [1.0, 1.0], 1.0, "rising"),
        ([1.0, 2.0], [0.0, 1.0], 1.0, "must be positive"),
        ([1.0, 2.0], [1.0, 1.0], 0.0, "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            critical_temperature(t, v, level)


def ended(alpha, temp, status="fitted", change=0.1, error=0.2, size=8):
    return Run(Condition(alpha, temp, size), status, 1, 1.0, 1.0, change, error, None, ())


def test_a_phase_diagram():
    runs = [
        ended(2.0, 1.0, change=0.1),
        ended(2.0, 1.0, change=0.4, error=0.4),
        ended(2.0, 2.0, change=0.3, error=0.1),
        ended(2.0, 4.0, change=0.41),
        ended(2.0, 8.0, "diverged", error=None),
        ended(0.5, 1.0, "censored"),
        ended(0.5, 2.0, change=1.5, error=0.3),
        ended(0.5, 4.0, change=2.9, error=0.3),
        ended(0.5, 8.0, change=3.1, error=0.5),
        ended(0.5, 8.0, "diverged", error=None),
    ]
    diagram = phase_diagram(runs)
    assert diagram.alphas == (0.5, 2.0)
    assert diagram.temps == (1.0, 2.0, 4.0, 8.0)
    assert diagram.change[1, 0] == pytest.approx(0.2)
    assert diagram.error[1, 0] == pytest.approx(0.3)
    assert math.isnan(diagram.error[1, 3])
    assert diagram.fitted[0].tolist() == [0, 1, 1, 0.5]
    assert diagram.diverged[0].tolist() == [0, 0, 0, 0.5]
    assert diagram.regimes() == [["censored", "features", "features", "noise"], ["lazy", "lazy", "lazy", "diverged"]]
    assert diagram.regimes(moved=0.25)[1] == ["lazy", "features", "noise", "diverged"]
    assert diagram.best_temperature() == [2.0, 2.0]
    assert phase_diagram([*runs, ended(1.0, 1.0, size=16)], size=8).alphas == (0.5, 2.0)
    ends = [ended(1.0, 1.0, status, error=None) for status in ("censored", "censored", "diverged")]
    assert phase_diagram(ends).regimes() == [["censored"]]
    assert phase_diagram(ends[1:]).regimes() == [["diverged"]]
    none = phase_diagram([ended(1.0, 1.0, "diverged", error=None)])
    assert none.best_temperature() == [None]


def test_a_phase_diagram_by_the_kernel():
    runs = [replace(ended(1.0, t), kernel_change=k) for t, k in ((1.0, 0.0), (2.0, 0.5), (2.0, 2.0))]
    diagram = phase_diagram(runs, change="kernel")
    assert diagram.change[0].tolist() == pytest.approx([0, 1])
    assert diagram.regimes() == [["lazy", "noise"]]
    with pytest.raises(ValueError, match="give the runner kernel_points"):
        phase_diagram([ended(1.0, 1.0)], change="kernel")
    with pytest.raises(ValueError, match="'weights' or 'kernel'"):
        phase_diagram(runs, change="time")


def test_diagrams_that_cannot_be_are_refused():
    for runs, message in (
        ([], "one size P"),
        ([ended(1.0, 1.0), ended(1.0, 1.0, size=9)], "one size P"),
        ([ended(1.0, 1.0), ended(2.0, 2.0)], "2 cells of the grid have no run"),
        ([ended(1.0, 1.0, error=None)], "needs test errors"),
    ):
        with pytest.raises(ValueError, match=message):
            phase_diagram(runs)
    for levels in ({"moved": 0.0}, {"factor": 1.0}):
        with pytest.raises(ValueError, match="moved must be above 0"):
            phase_diagram([ended(1.0, 1.0)]).regimes(**levels)


def test_diagrams_are_compared_by_identity():
    one, other = (phase_diagram([ended(1.0, 1.0)]) for _ in range(2))
    assert one == one
    assert one != other
