"""What users hand over: NumPy's views, whole numbers and floats, other kinds of objects, Jacobians that are none."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from entrokit.physics.chaos import (
    SYSTEMS,
    LinearAutoregression,
    Lorenz,
    MeanForecaster,
    NearestAnalogue,
    Rossler,
    benchmark_forecaster,
    correlation_dimension,
    correlation_sum,
    forecast_error,
    from_dysts,
    hard_series,
    henon,
    importance_weights,
    kaplan_yorke_dimension,
    logistic,
    lyapunov_spectrum,
    map_lyapunov_spectrum,
    measure_invariants,
    multiscale_entropy,
    nrmse,
    pesin_entropy,
    rk4,
    sample_entropy,
    sample_flow,
    smooth_errors,
    spectrum_of_tangents,
    spectrum_weights,
    starts_on_attractor,
)

START = (1.0, 2.0, 20.0)
SERIES = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def series():
    return np.random.default_rng(0).normal(size=300)


@pytest.mark.parametrize(
    "view",
    [lambda x: x[::-1], lambda x: x.astype(">f8"), lambda x: x.astype(np.longdouble)],
    ids=["backwards", "byte-order", "long"],
)
def test_numpy_s_views_are_taken(view, series):
    same = torch.from_numpy(view(series).astype(np.float64).copy())
    assert torch.equal(sample_entropy(view(series)), sample_entropy(same))


def test_numpy_s_whole_numbers_are_whole_numbers(series):
    assert torch.equal(sample_entropy(series, np.int64(2)), sample_entropy(series, 2))
    wanted = multiscale_entropy(series, scales=3)
    for scales in (np.arange(1, 4), np.int64(3)):
        found = multiscale_entropy(series, scales=scales)
        assert torch.equal(found.values, wanted.values)
        assert found.scales == (1, 2, 3)
    assert LinearAutoregression(np.int32(3)).lags == 3


def test_a_forecast_error_of_an_array_is_that_of_the_tensor(series):
    x = series.reshape(100, 3)
    assert forecast_error(MeanForecaster(), x, 80) == forecast_error(MeanForecaster(), torch.from_numpy(x), 80)
    with pytest.raises(ValueError, match=r"points \[\.\.\., T, D\]"):
        forecast_error(MeanForecaster(), series, 80)
    with pytest.raises(ValueError, match=r"scale: \[3\] does not broadcast to \[5, 2\]"):
        nrmse(np.ones((5, 2)), np.zeros((5, 2)), np.ones(3))


@pytest.mark.parametrize("measure", [kaplan_yorke_dimension, pesin_entropy])
def test_complex_exponents_are_named(measure):
    with pytest.raises(ValueError, match="spectrum: real numbers are expected"):
        measure(np.array([1 + 2j, -1]))


def test_jacobians_that_are_none_are_named():
    flow = Lorenz()
    with pytest.raises(ValueError, match=r"jac: the Jacobian at or behind the state \[-9\.787, .*\] is not finite"):
        lyapunov_spectrum(flow, flow.start, 0.01, 5, lambda x: x[..., None] * torch.full((3,), math.nan))
    with pytest.raises(ValueError, match=r"jac: gives \[2, 2\] for states \[1, 3\]"):
        lyapunov_spectrum(flow, flow.start, 0.01, 5, lambda _: torch.eye(2))


def test_one_jacobian_may_stand_for_all_states():
    pull = torch.diag(torch.tensor([0.5, 0.25], dtype=torch.float64))
    found = map_lyapunov_spectrum(lambda x: x @ pull, [1.0, 1.0], 20, lambda _: pull)
    assert found.tolist() == pytest.approx([math.log(0.5), math.log(0.25)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: benchmark_forecaster(MeanForecaster(), Lorenz()),
            "flows: a list of them is expected; got Lorenz alone",
        ),
        (lambda: benchmark_forecaster(MeanForecaster(), None), "flows: a list of them is expected; got a NoneType"),
        (
            lambda: benchmark_forecaster(MeanForecaster(), SYSTEMS),
            "flows[0]: a flow is expected; got the class Lorenz; Lo",
        ),
        (
            lambda: benchmark_forecaster(MeanForecaster(), [Lorenz(), henon()]),
            "flows[1]: a flow is expected; got a func",
        ),
        (lambda: benchmark_forecaster(MeanForecaster(), ["Lorenz"]), "flows[0]: a flow is expected; got str"),
        (
            lambda: benchmark_forecaster(MeanForecaster, [Lorenz()]),
            "forecaster: an instance is expected; got the class M",
        ),
        (
            lambda: benchmark_forecaster(henon(), [Lorenz()]),
            "forecaster: fit(series) and predict(horizon) are expected",
        ),
        (lambda: benchmark_forecaster(MeanForecaster(), [Lorenz()], invariants=[1]), "invariants: a mapping"),
        (lambda: forecast_error(MeanForecaster, np.ones((9, 1)), 5), "got the class MeanForecaster, MeanForecaster()"),
        (lambda: sample_flow(henon(), 5), "FunctionFlow(label=..., field=..., period=..., start=...) makes one of it"),
        (lambda: starts_on_attractor(Lorenz, 2), "flow: a flow is expected; got the class Lorenz; Lorenz() makes one"),
        (lambda: measure_invariants(SimpleNamespace(rhs=1)), "got a SimpleNamespace; `from_dysts` makes one of it"),
        (lambda: hard_series(None, np.ones((4, 3)), np.ones(4)), "flow: a flow is expected; got NoneType"),
        (lambda: from_dysts(SimpleNamespace), "got the class SimpleNamespace, of which SimpleNamespace() makes one"),
    ],
)
def test_other_kinds_of_objects_are_named(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


@pytest.fixture
def near_starts(monkeypatch):
    """No transient: where on the attractor trajectories begin does not matter here."""
    for module in ("annotate", "forecasting"):
        monkeypatch.setattr(
            f"entrokit.physics.chaos.{module}.starts_on_attractor",
            lambda flow, count: starts_on_attractor(flow, count, apart=0.1, transient=0),
        )


def test_flows_may_come_one_after_the_other(near_starts):
    flows = [Lorenz(), Rossler()]
    options = {"points_per_period": 10, "periods": 2}
    found = benchmark_forecaster(MeanForecaster(), (flow for flow in flows), **options)
    assert found == benchmark_forecaster(MeanForecaster(), flows, **options)
    assert len(found.rows) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda n: rk4(Lorenz(), START, 0.01, n(4), every=n(2)),
        lambda n: lyapunov_spectrum(Lorenz(), START, 0.01, n(4), transient=n(2)),
        lambda n: map_lyapunov_spectrum(henon(), [0.1, 0.1], n(4), transient=n(2)),
        lambda n: sample_flow(Lorenz(), n(4), n(5), transient=0, steps_per_period=n(20)),
        lambda n: starts_on_attractor(Lorenz(), n(2), apart=0.1, transient=0.1),
        lambda n: multiscale_entropy(SERIES, n(2), scales=n(3)).values,
        lambda n: multiscale_entropy(SERIES, scales=[n(1), n(3)]).values,
        lambda n: sample_entropy(SERIES, n(2)),
        lambda n: correlation_sum(SERIES[:, None], [0.1, 0.5], theiler=n(2)),
        lambda n: torch.tensor(correlation_dimension(SERIES[:, None], radii=n(5), theiler=n(2))),
        lambda n: smooth_errors(SERIES**2, n(9), n(2)),
        lambda n: hard_series(Lorenz(), [START], [1.0], torch.Generator().manual_seed(0), count=n(2), points=n(3))[0],
        lambda n: NearestAnalogue(n(3), n(2)).fit(SERIES[:, None]).predict(n(2)),
        lambda n: LinearAutoregression(n(3)).fit(SERIES[:, None]).predict(n(2)),
        lambda n: MeanForecaster().fit(SERIES[:, None]).predict(n(2)),
        lambda n: torch.tensor(forecast_error(MeanForecaster(), SERIES[:, None], n(80))),
    ],
)
def test_whole_numbers_may_be_written_as_floats(call):
    expected = call(int)
    for kind in (float, np.float32, torch.tensor):
        assert call(kind).equal(expected)
    with pytest.raises(ValueError, match=r": a whole number of at least \d is expected; got"):
        call(lambda n: n + 0.5)


def test_a_benchmark_and_an_annotation_may_be_told_in_floats(near_starts):
    found = benchmark_forecaster(MeanForecaster(), [Lorenz()], 10.0, 2.0, coordinate=1.0, starts=2.0)
    assert found == benchmark_forecaster(MeanForecaster(), [Lorenz()], 10, 2, coordinate=1, starts=2)
    sizes = {"starts": 1, "periods": 1, "points": 120, "points_per_period": 10}
    assert measure_invariants(Lorenz(), **{k: float(v) for k, v in sizes.items()}) == measure_invariants(
        Lorenz(), **sizes
    )
    for name in sizes:
        with pytest.raises(ValueError, match="a whole number of at least"):
            measure_invariants(Lorenz(), **{**sizes, name: 1.5})
    for name in ("points_per_period", "periods", "starts", "coordinate"):
        with pytest.raises(ValueError, match="a whole number of at least"):
            benchmark_forecaster(MeanForecaster(), [Lorenz()], **{name: 1.5})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda v: Lorenz(sigma=v), "Lorenz: sigma"),
        (lambda v: Rossler(period=v), "Rossler: period"),
        (lambda v: henon(a=v), "a"),
        (lambda v: henon(b=v), "b"),
        (lambda v: logistic(v), "r"),
        (lambda v: rk4(Lorenz(), START, v, 3), "dt"),
        (lambda v: lyapunov_spectrum(Lorenz(), START, v, 3), "dt"),
        (lambda v: spectrum_of_tangents(np.ones((3, 1, 1)), v), "dt"),
        (lambda v: sample_flow(Lorenz(), 3, transient=v), "transient"),
        (lambda v: starts_on_attractor(Lorenz(), 3, transient=v), "transient"),
        (lambda v: starts_on_attractor(Lorenz(), 3, apart=v), "apart"),
        (lambda v: spectrum_weights([[1.0, 0.0]], v), "sharpness"),
        (lambda v: correlation_dimension(SERIES[:, None], r_min=v), "r_min"),
        (lambda v: correlation_dimension(SERIES[:, None], r_max=v), "r_max"),
        (lambda v: importance_weights([1.0], v), "power"),
        (lambda v: hard_series(Lorenz(), [START], [1.0], noise=v), "noise"),
        (lambda v: LinearAutoregression(ridge=v), "ridge"),
    ],
)
def test_what_is_no_number_is_named(call, name):
    for wrong in ("a", [3.0], None, True, math.nan, math.inf, 1j, torch.ones(2)):
        with pytest.raises(ValueError, match=rf"^{name}: a finite number"):
            call(wrong)


@pytest.mark.parametrize("measure", [kaplan_yorke_dimension, pesin_entropy, spectrum_weights])
def test_exponents_that_are_no_numbers_are_named(measure):
    for wrong in (["a"], None, [[1.0], [1.0, 2.0]], [None], [True]):
        with pytest.raises(ValueError, match="^spectrum: "):
            measure(wrong)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ((1.0, 2.0), "Lorenz: start: three coordinates are expected; got 2"),
        ([[1.0, 2.0, 3.0]], r"Lorenz: start: one state \(D,\) is expected; got \[1, 3\]"),
        ("abc", "Lorenz: start: a tensor or an array of numbers is expected: got an array of <U3"),
    ],
)
def test_starts_that_are_none_are_named(start, message):
    with pytest.raises(ValueError, match=message):
        Lorenz(start=start)


def test_starts_and_parameters_of_other_kinds_become_numbers():
    flow = Lorenz(sigma=np.float32(9.0), rho=torch.tensor(27.0), start=torch.tensor([1.0, 2.0, 3.0]))
    assert flow == Lorenz(sigma=9, rho=27, start=(1, 2, 3))
    assert hash(flow) == hash(Lorenz(sigma=9, rho=27, start=(1, 2, 3)))


def test_no_transient_leaves_the_start_where_it_is():
    assert starts_on_attractor(Lorenz(), 1, transient=0).tolist() == [list(Lorenz().start)]


def test_no_errors_have_no_weights():
    with pytest.raises(ValueError, match=r"errors: \[T\], at least one, are expected; got \[0\]"):
        importance_weights([])
