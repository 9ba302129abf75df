"""Spectra, dimensions and surrogates: known systems, identities, and inputs that are none."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.physics.chaos import (
    SYSTEMS,
    DivergedError,
    FunctionFlow,
    Lorenz,
    Thomas,
    correlation_dimension,
    correlation_sum,
    henon,
    kaplan_yorke_dimension,
    logistic,
    lyapunov_spectrum,
    map_lyapunov_spectrum,
    measure_invariants,
    pesin_entropy,
    random_phase_surrogate,
    rk4,
    spectrum_of_tangents,
    spectrum_weights,
    starts_on_attractor,
)

LORENZ = Lorenz(beta=8 / 3)


@pytest.fixture(scope="module")
def lorenz_states():
    """States on the attractor that have nothing to do with one another."""
    starts = torch.tensor(LORENZ.start) + torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    return rk4(LORENZ, starts, 0.01, 600)[:, -1]


def test_check_1_the_lorenz_spectrum(lorenz_states):
    # 32 times 20 time units: rounding grows by exp(0.9 · 20) in them, to 1e-8, so that all processors find the same.
    spectra = lyapunov_spectrum(LORENZ, lorenz_states[:32], 0.01, 2000, transient=100)
    mean = spectra.mean(0)
    assert spectra.shape == (32, 3)
    assert 0.85 <= float(mean[0]) <= 0.95
    assert abs(float(mean[1])) < 0.03
    # The trace of the Jacobian is the same everywhere.
    torch.testing.assert_close(spectra.sum(-1), torch.full((32,), -41 / 3, dtype=torch.float64), atol=1e-3, rtol=0)


def test_check_1_the_henon_map():
    starts = 0.1 * torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectra = map_lyapunov_spectrum(henon(), starts, 1000, transient=100)
    assert float(spectra[:, 0].mean()) == pytest.approx(0.4194, abs=0.003)
    torch.testing.assert_close(
        spectra.sum(-1), torch.full((100,), math.log(0.3), dtype=torch.float64), atol=1e-8, rtol=0
    )


def test_the_logistic_map_makes_ln_2_a_step():
    starts = torch.rand(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = map_lyapunov_spectrum(logistic(), starts, 2000, transient=20)
    assert float(found.mean()) == pytest.approx(math.log(2), abs=0.002)


@pytest.mark.parametrize("dt", [0.1, 0.01])
def test_a_linear_flow_has_its_eigenvalues(dt):
    rates = torch.tensor([-2.0, 0.3, -0.5], dtype=torch.float64)
    found = lyapunov_spectrum(lambda x: rates * x, torch.ones(3), dt, 50)
    step = sum((rates * dt) ** k / math.factorial(k) for k in range(5))
    torch.testing.assert_close(found, (step.log() / dt).sort(descending=True).values, rtol=1e-10, atol=1e-12)


def test_the_tangent_map_is_that_of_the_step():
    flow, dt, h = Thomas(), 0.05, 1e-5
    x = torch.tensor([1.0, -0.4, 2.0], dtype=torch.float64)
    moved = x + h * torch.cat([torch.eye(3), -torch.eye(3)]).double()
    ends = rk4(flow, moved, dt, 1)[:, -1]
    tangent = ((ends[:3] - ends[3:]) / (2 * h)).T
    found, expected = lyapunov_spectrum(flow, x, dt, 1), spectrum_of_tangents(tangent[None], dt)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_a_jacobian_by_hand_is_the_same_as_by_autograd(lorenz_states):
    def by_hand(s):
        x, y, z = s.unbind(-1)
        one, none = torch.ones_like(x), torch.zeros_like(x)
        rows = [[-10 * one, 10 * one, none], [28 - z, -one, -x], [y, x, -8 / 3 * one]]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    start = lorenz_states[0]
    found = lyapunov_spectrum(LORENZ, start, 0.01, 50)
    torch.testing.assert_close(found, lyapunov_spectrum(LORENZ, start, 0.01, 50, by_hand), rtol=1e-12, atol=1e-12)


def test_a_cut_into_chunks_changes_nothing(lorenz_states, monkeypatch):
    from entrokit.physics.chaos import lyapunov

    whole = lyapunov_spectrum(LORENZ, lorenz_states[:2], 0.01, 60, transient=7)
    monkeypatch.setattr(lyapunov, "_STATES", 20)
    torch.testing.assert_close(
        lyapunov_spectrum(LORENZ, lorenz_states[:2], 0.01, 60, transient=7), whole, rtol=1e-12, atol=1e-12
    )


def test_a_transient_turns_the_frame_and_is_not_counted():
    """Growth over 100 steps is that of the first 40, and of 60 behind them in the frame that they turned."""
    whole, first = (lyapunov_spectrum(LORENZ, LORENZ.start, 0.01, n) for n in (100, 40))
    rest = lyapunov_spectrum(LORENZ, LORENZ.start, 0.01, 60, transient=40)
    torch.testing.assert_close(40 * first + 60 * rest, 100 * whole, rtol=1e-9, atol=1e-9)


def test_annotated_spectra_are_biased_by_their_euler_steps(lorenz_states):
    """What the released annotation does, ``I + J dt`` with dt = 0.003, adds the exponents up to something else."""
    states = rk4(LORENZ, lorenz_states, 0.003, 500)[:, :-1]
    jacobians = LORENZ.jacobian(states)
    one = torch.eye(3, dtype=torch.float64)
    exact = lyapunov_spectrum(LORENZ, lorenz_states, 0.003, 500).mean(0)
    forward = spectrum_of_tangents(one + 0.003 * jacobians, 0.003).mean(0) - exact
    backward = spectrum_of_tangents(torch.linalg.inv(one - 0.003 * jacobians), 0.003).mean(0) - exact
    assert float(exact.sum()) == pytest.approx(-41 / 3, abs=1e-5)
    # The sheet's differences over 200 time units; over 64 times 1.5 they are the same within a third.
    torch.testing.assert_close(forward, torch.tensor([0.116, 0.111, -0.347]).double(), rtol=0.35, atol=0)
    torch.testing.assert_close(backward, torch.tensor([-0.156, -0.100, 0.352]).double(), rtol=0.35, atol=0)


@pytest.mark.parametrize(
    ("spectrum", "dimension", "entropy"),
    [
        ((0.9056, 0, -14.5723), 2.062145, 0.9056),
        ((-1.62319, 0.41922), 1.258269, 0.41922),
        ((0.5, 0, -0.5), 3, 0.5),
        ((0.03, 0.005, -0.0015), 3, 0.035),
        ((-1, -2), 0, 0),
        ((0.3, -math.inf), 1, 0.3),
        ((0.0,), 1, 0),
    ],
)
def test_check_2_kaplan_yorke_and_pesin(spectrum, dimension, entropy):
    assert float(kaplan_yorke_dimension(spectrum)) == pytest.approx(dimension, abs=1e-6)
    assert float(pesin_entropy(spectrum)) == pytest.approx(entropy)


@settings(max_examples=60, deadline=None)
@given(spectrum=st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_the_dimension_never_exceeds_that_of_the_phase_space(spectrum):
    found = float(kaplan_yorke_dimension(spectrum))
    assert 0 <= found <= len(spectrum)
    total, held = 0.0, 0
    for value in sorted(spectrum, reverse=True):
        total += value
        held += total >= 0
    assert held - 1e-9 <= found <= held + 1 + 1e-9


def test_dimensions_of_a_batch():
    both = torch.tensor([[0.9056, 0, -14.5723], [-1, -2, -3]])
    torch.testing.assert_close(kaplan_yorke_dimension(both), torch.tensor([2.062145, 0]).double(), atol=1e-6, rtol=0)


def test_spectra_with_a_zero_exponent_are_trusted():
    weights = spectrum_weights([[0.9, 0.001, -14], [0.8, 0.003, -14]])
    torch.testing.assert_close(weights, torch.tensor([-1.0, -3.0]).double().softmax(0), rtol=1e-6, atol=0)


def cantor():
    x = torch.zeros(1, dtype=torch.float64)
    for _ in range(10):
        x = torch.cat([x / 3, x / 3 + 2 / 3])
    return x[:, None]


def circle():
    angle = torch.arange(1500, dtype=torch.float64) * 2 * math.pi / 1500
    return torch.stack([angle.cos(), angle.sin()], 1)


@pytest.mark.parametrize(
    ("points", "slope", "takens"),
    [(cantor, 0.629636, 0.614790), (circle, 1.019211, 1.046284)],
    ids=["cantor", "circle"],
)
def test_check_3_correlation_dimensions(points, slope, takens):
    x = points()
    assert correlation_dimension(x) == pytest.approx(slope, abs=1e-6)
    radius = 0.2 / float(x.std(correction=0))
    # The sheet's last digit of the circle is another's rounding: below is the circle by its definition.
    assert correlation_dimension(x, "takens", r_max=radius) == pytest.approx(takens, abs=2e-6)


def test_takens_of_the_circle_by_its_definition():
    chords = [2 * math.sin(math.pi * k / 1500) for k in range(1, 750)]
    near = [math.log(chord / 0.2) for chord in chords if chord < 0.2]
    radius = 0.2 / float(circle().std(correction=0))
    found = correlation_dimension(circle(), "takens", r_max=radius)
    assert found == pytest.approx(-len(near) / sum(near), rel=1e-9)


@pytest.mark.parametrize("theiler", [0, 3])
def test_the_correlation_sum_is_its_definition(theiler):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    i, j = torch.triu_indices(40, 40, theiler + 1)
    distances = (x[i] - x[j]).norm(dim=1)
    radii = torch.tensor([0.5, 1.0, 2.0, 9.0], dtype=torch.float64)
    expected = torch.stack([(distances < r).double().mean() for r in radii])
    found = correlation_sum(x, radii, theiler=theiler)
    torch.testing.assert_close(found, expected)


def test_radii_are_in_standard_deviations_of_all_coordinates_together():
    moved = circle()[::3] + torch.tensor([0.0, 3.0])
    wider = float(np.std(moved.numpy()) / np.std(circle().numpy()))
    for method in ("regression", "takens"):
        found = correlation_dimension(moved, method, 0.2 / wider, 0.6 / wider)
        assert found == pytest.approx(correlation_dimension(circle()[::3], method, 0.2, 0.6), rel=1e-9)


def test_pairs_at_a_radius_are_not_within_it():
    # Of 4 points on a line 3 pairs are 1 apart, 2 are 2 apart, 1 is 3 apart.
    found = correlation_sum([[0.0], [1.0], [2.0], [3.0]], [1.0, 2.0, 3.0, 3.5])
    assert found.tolist() == [0, 3 / 6, 5 / 6, 1]


def test_the_same_point_twice_says_nothing_to_takens():
    once = correlation_dimension(circle()[::5], "takens")
    assert correlation_dimension(circle()[::5].repeat(2, 1), "takens") == pytest.approx(once, rel=1e-12)


@pytest.mark.parametrize("size", [64, 65])
def test_check_6_random_phases(size):
    x = torch.randn(3, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    made = random_phase_surrogate(x, torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.fft.fft(made).abs(), torch.fft.fft(x).abs(), rtol=0, atol=1e-9)
    torch.testing.assert_close(made.mean(-1), x.mean(-1))
    assert float((made - x).abs().amax()) > 0.5
    torch.testing.assert_close(made, random_phase_surrogate(x.numpy(), torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.__name__)
def test_every_system_stays_on_a_bounded_attractor(system):
    flow = system()
    states = rk4(flow, flow.start, flow.period / 50, 500)
    assert float(states.abs().amax()) < 100
    assert flow(states).shape == states.shape
    numeric = torch.func.jacrev(flow)(states[-1])
    torch.testing.assert_close(flow.jacobian(states[-1]), numeric)


def test_a_flow_s_invariants_together():
    found = measure_invariants(Lorenz(), starts=4, periods=5, points=600, points_per_period=50)
    # Small and short: values of the literature are 0.906, 2.06, 2.05. Over 640 periods λ1 is known to 0.01 (the page's
    # range), and so over these 20 to 0.06; the dimension, of 14 times as large an exponent, to 0.01.
    assert found.lyapunov == pytest.approx(0.9, abs=0.25)
    assert found.lyapunov_per_period == pytest.approx(found.lyapunov * 1.5008)
    assert found.kaplan_yorke == pytest.approx(2.06, abs=0.05)
    assert found.pesin == pytest.approx(sum(max(v, 0.0) for v in found.spectrum))
    assert 1 < found.correlation < 3
    assert found.multiscale > 0


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_diverging_flow_is_named():
    flow = FunctionFlow(label="runaway", field=lambda x: x * x, period=1.0, start=(1.0, 1.0))
    with pytest.raises(DivergedError, match=r"runaway: the trajectory left for infinity by time .* smaller step"):
        rk4(flow, flow.start, 0.01, 1000)
    with pytest.raises(DivergedError, match=r"runaway: the trajectory from start \[1\]"):
        rk4(flow, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), 0.01, 1000)
    with pytest.raises(DivergedError, match="runaway"):
        starts_on_attractor(flow, 2)
    with pytest.raises(DivergedError, match=r"Lorenz: .* by time 0.03 \(step 3 of 0.01\)"):
        rk4(LORENZ, [1e200, 1e200, 1e200], 0.01, 3)
    with pytest.raises(DivergedError, match="left for infinity by step"):
        map_lyapunov_spectrum(henon(a=3.0), [1.0, 1.0], 100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lyapunov_spectrum(LORENZ, [1.0, 2.0], 0.01, 10), "Lorenz has 3 coordinates; got 2"),
        (lambda: lyapunov_spectrum(LORENZ, LORENZ.start, 0.0, 10), "dt: a finite number above 0"),
        (lambda: lyapunov_spectrum(LORENZ, LORENZ.start, 0.01, 0), "n_steps: a whole number of at least 1"),
        (lambda: lyapunov_spectrum(LORENZ, [math.nan, 0, 0], 0.01, 5), "x0: nan at index"),
        (lambda: lyapunov_spectrum(lambda x: x[..., :1], [1.0, 2.0], 0.01, 5), r"gives \[1\] for states \[2\]"),
        (lambda: lyapunov_spectrum(lambda x: 1.0, [1.0], 0.01, 5), "gives float for states"),
        (lambda: spectrum_of_tangents(torch.ones(4, 2, 3)), r"matrices \[..., T, D, D\]"),
        (lambda: kaplan_yorke_dimension([]), "exponents"),
        (lambda: kaplan_yorke_dimension([math.nan]), "NaN"),
        (lambda: correlation_dimension(torch.ones(9, 2)), "all the same, or too large"),
        (lambda: correlation_sum(cantor(), [0.2, 0.1]), "above 0 and ascending"),
        (lambda: correlation_dimension(torch.ones(1, 2)), "T at least 2"),
        (lambda: correlation_dimension(torch.ones(2, 3, 4)), "one trajectory"),
        (lambda: correlation_dimension(cantor(), "ransac"), "regression or takens"),
        (lambda: correlation_dimension(cantor(), r_min=0.5, r_max=0.5), "0 < r_min < r_max"),
        (lambda: correlation_dimension(cantor()[::200], r_min=1e-9), "r_min: no two of 6 points"),
        (lambda: correlation_dimension(cantor()[::200], "takens", r_max=1e-9, r_min=1e-10), "no two different points"),
        (lambda: random_phase_surrogate(np.ones(9)), "is constant"),
        (lambda: Lorenz(period=0.0), "Lorenz: period"),
        (lambda: measure_invariants(LORENZ, points=100), "points: at least 202"),
    ],
)
def test_what_is_none_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
