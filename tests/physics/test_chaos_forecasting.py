"""Sampling, forecasters, and the benchmark's table."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from entrokit.physics.chaos import (
    Autoregressive,
    BenchmarkTable,
    DivergedError,
    Flow,
    Invariants,
    LinearAutoregression,
    Lorenz,
    MeanForecaster,
    NearestAnalogue,
    Rossler,
    Row,
    SprottB,
    benchmark_forecaster,
    forecast_error,
    nrmse,
    rk4,
    sample_flow,
    smape,
    starts_on_attractor,
)


@dataclass(frozen=True, kw_only=True)
class Clock(Flow):
    """Turns once in a unit of time, its radius kept."""

    period: float = 1.0
    start: tuple[float, ...] = (1.0, 0.0)

    def __call__(self, x):
        return 2 * math.pi * torch.stack([-x[..., 1], x[..., 0]], -1)

    def of_arrays(self, x):
        return 2 * math.pi * np.stack([-x[1], x[0]])


CLOCK = Clock()


def waves(points):
    k = torch.arange(points, dtype=torch.float64)
    return torch.stack([(0.2 * k).sin(), (0.2 * k).cos() + 3], 1)


def test_points_are_a_period_apart():
    x = sample_flow(CLOCK, 21, 10, transient=2.0)
    angle = 2 * math.pi * torch.arange(21, dtype=torch.float64) / 10
    torch.testing.assert_close(x, torch.stack([angle.cos(), angle.sin()], 1), atol=1e-6, rtol=0)


def test_the_implicit_solver_agrees():
    by_steps = sample_flow(Lorenz(), 3, 200, transient=0.01, steps_per_period=3000)
    implicit = sample_flow(Lorenz(), 3, 200, transient=0.01, method="radau")
    torch.testing.assert_close(by_steps, implicit, atol=1e-8, rtol=1e-8)


def test_runge_kutta_is_of_fourth_order():
    errors = [float((rk4(CLOCK, CLOCK.start, 1 / n, n)[-1] - torch.tensor([1.0, 0.0])).norm()) for n in (20, 40)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)


def test_starts_lie_on_one_trajectory():
    starts = starts_on_attractor(CLOCK, 3, apart=1.25, transient=1.0)
    assert starts.shape == (3, 2)
    torch.testing.assert_close(starts, torch.tensor([[1.0, 0], [0, 1], [-1, 0]]).double(), atol=1e-5, rtol=0)


def test_scores_of_worked_cases():
    assert smape([1.0, 2.0, 0.0], [1.0, -2.0, 0.0]) == pytest.approx(200 / 3)
    assert smape([3.0], [1.0]) == pytest.approx(100)
    assert nrmse([[1.0, 2.0]], [[2.0, 4.0]], [1.0, 2.0]) == pytest.approx(1.0)


def test_the_mean_is_forecast():
    found = MeanForecaster().fit(waves(40)).predict(3)
    torch.testing.assert_close(found, waves(40).mean(0).expand(3, -1))


def test_a_sinusoid_is_linear():
    x = waves(120)
    found = LinearAutoregression(lags=3, ridge=0.0).fit(x[:80]).predict(40)
    torch.testing.assert_close(found, x[80:], atol=1e-6, rtol=0)


def test_ridge_regression_by_its_normal_equations():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(0)
    found = LinearAutoregression(lags=2, ridge=0.05).fit(x).predict(1)[0]
    y = ((x - x.mean(0)) / x.std(0)).numpy()
    design = np.hstack([y[:-2], y[1:-1]])
    # The penalty leaves the intercept alone, as scikit-learn's does: it goes with the means.
    centred, target = design - design.mean(0), y[2:] - y[2:].mean(0)
    weights = np.linalg.solve(centred.T @ centred + 0.05 * 58 * np.eye(4), centred.T @ target)
    last = np.concatenate([y[-2], y[-1]])
    expected = torch.from_numpy((last - design.mean(0)) @ weights + y[2:].mean(0)) * x.std(0) + x.mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_the_past_is_replayed():
    x = waves(400)
    analogue = NearestAnalogue(lags=2).fit(x[:300])
    found = analogue.predict(20)
    futures = x[:300].unfold(0, 20, 1).mT
    assert bool((found == futures).flatten(1).all(1).any()), "a stretch of the past, as it was"
    # 300 points of a circle of 31.4 points: the nearest is some 0.2 / 9 away.
    assert float((found - x[300:320]).abs().amax()) < 0.05
    others = torch.stack([x[310:312], x[350:354][-2:]])
    ahead = analogue.predict(5, others)
    assert ahead.shape == (2, 5, 2)
    assert float((ahead[0] - x[312:317]).abs().amax()) < 0.05


def test_neighbours_are_averaged():
    x = torch.tensor([[0.0], [1.0], [0.1], [3.0], [0.05]], dtype=torch.float64)
    torch.testing.assert_close(NearestAnalogue(neighbours=2).fit(x).predict(1), torch.tensor([[2.0]]).double())


LYAPUNOV = {"Clock": 0.0, "Rossler": 0.4, "SprottB": 2.0}
KNOWN = {name: Invariants(1.0, (value, 0.0, -1.0), 2.0, value, 2.0, 0.5) for name, value in LYAPUNOV.items()}
ROWS = tuple(Row(name, (float(i), 9.0, 0.0), (1.0,), KNOWN[name]) for i, name in enumerate(LYAPUNOV))


def table(forecaster, **options):
    return benchmark_forecaster(forecaster, [CLOCK, Rossler(), SprottB()], periods=6, invariants=KNOWN, **options)


@pytest.fixture
def near_starts(monkeypatch):
    """Starts after a few coarse periods: where on the attractor they are does not matter here."""
    monkeypatch.setattr(
        "entrokit.physics.chaos.forecasting.starts_on_attractor",
        lambda flow, count: rk4(flow, flow.start, flow.period / 60, 180 * count, every=180)[1:],
    )


def test_rows_are_medians_over_starts():
    found = BenchmarkTable(ROWS)
    assert found.errors() == [0.0, 1.0, 2.0]
    assert found.spearman() == pytest.approx(1.0)
    assert "| Rossler | 1.0 | 1.00 | 0.40 | 2.00 | 0.40 | 2.00 | 0.50 |" in str(found)


def test_a_benchmark_of_any_forecaster_is_a_table(near_starts):
    found = table(NearestAnalogue(lags=5))
    assert [row.system for row in found.rows] == list(LYAPUNOV)
    assert found.errors("nrmse")[0] < 0.05, "a clock repeats itself"
    assert found.errors()[2] > found.errors()[0]
    assert found.spearman() > 0
    assert str(found).count("\n") == 4
    assert "| SprottB |" in str(found)


def test_a_forecaster_of_scikit_learns_kind_that_gives_arrays(near_starts):
    @dataclass
    class Last:
        def fit(self, series):
            self.last = series.numpy()[-1]
            return self

        def predict(self, horizon):
            return np.tile(self.last, (horizon, 1))

    forecaster = Last()
    found = table(forecaster, coordinate=None, starts=2)
    assert all(len(row.smape) == 2 for row in found.rows)
    assert not hasattr(forecaster, "last"), "a copy is fitted"


def test_the_last_sixth_is_forecast_by_copies_of_what_was_given(near_starts):
    seen = []

    class Watched(MeanForecaster):
        def fit(self, series):
            seen.append((hasattr(self, "mean_"), len(series)))
            return super().fit(series)

        def predict(self, horizon):
            seen.append(horizon)
            return super().predict(horizon)

    benchmark_forecaster(Watched(), [CLOCK], 15, 12, starts=2)
    assert seen == [(False, 150), 30] * 2


def test_trajectories_begin_where_starts_are(near_starts, monkeypatch):
    given = []

    def forecast_error(forecaster, series, fitted, name):
        given.append(series)
        return 1.0, 1.0

    monkeypatch.setattr("entrokit.physics.chaos.forecasting.forecast_error", forecast_error)
    benchmark_forecaster(MeanForecaster(), [CLOCK], 15, 2, coordinate=None, starts=2)
    begun = rk4(CLOCK, CLOCK.start, 1 / 60, 360, every=180)[1:]
    torch.testing.assert_close(torch.stack([series[0] for series in given]), begun, rtol=0, atol=0)


def test_standardised_by_the_past_alone():
    series = torch.cat([waves(50), 100 + waves(10)])
    percent, root = forecast_error(MeanForecaster(), series, 50)
    truth = (series[50:] - series[:50].mean(0)) / series[:50].std(0, correction=0)
    assert root == pytest.approx(float(truth.square().mean().sqrt()))
    assert percent == pytest.approx(smape(series[50:], series[:50].mean(0).expand(10, -1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_flow(CLOCK, 1), "n: a whole number of at least 2"),
        (lambda: sample_flow(CLOCK, 5, transient=-1.0), "transient"),
        (lambda: sample_flow(CLOCK, 5, method="euler"), "rk4 or radau"),
        (lambda: smape([1.0], [1.0, 2.0]), r"\[2\] is expected to be of the shape of truth, \[1\]"),
        (lambda: nrmse([1.0], [2.0], 0.0), "scale: must be above 0"),
        (lambda: NearestAnalogue().predict(3), "fit it to a series"),
        (lambda: NearestAnalogue(lags=0), "lags: a whole number"),
        (lambda: NearestAnalogue().fit(waves(9)).predict(9), "only 0 stretches go on for 9 more"),
        (lambda: NearestAnalogue(lags=3).fit(waves(9)).predict(2, waves(2)[None]), "T at least 3"),
        (lambda: NearestAnalogue().fit(waves(9)).predict(2, waves(4)), r"after: histories \[B, L, 2\]"),
        (lambda: MeanForecaster().fit([1.0, 2.0]), r"points \[..., T, D\]"),
        (lambda: MeanForecaster().fit(torch.full((4, 1), math.nan)), "nan at index"),
        (lambda: LinearAutoregression(ridge=-1.0), "ridge"),
        (lambda: LinearAutoregression(1, 0.0).fit((2.0 ** torch.arange(40.0))[:, None]).predict(2000), "for infinity"),
        (lambda: benchmark_forecaster(MeanForecaster(), []), "flows: at least one"),
        (lambda: benchmark_forecaster(MeanForecaster(), [CLOCK, CLOCK]), "names that differ"),
        (lambda: benchmark_forecaster(MeanForecaster(), [CLOCK], coordinate=2), "Clock has coordinates 0 to 1; got 2"),
        (lambda: BenchmarkTable(ROWS[:2]).spearman(), "three flows"),
        (lambda: BenchmarkTable(ROWS).spearman("size"), "no 'size' is known"),
        (lambda: BenchmarkTable(ROWS).errors("mae"), "smape or nrmse"),
        (lambda: BenchmarkTable(ROWS).spearman("period"), "no ranks"),
        (lambda: forecast_error(MeanForecaster(), waves(9), 9), "leaves nothing"),
    ],
)
def test_what_is_none_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_implicit_solver_that_gives_up_is_named(monkeypatch):
    given_up = SimpleNamespace(success=False, t=np.array([0.0, 0.7]), message="Required step size is too small.")
    monkeypatch.setattr("scipy.integrate.solve_ivp", lambda *args, **options: given_up)
    with pytest.raises(DivergedError, match=r"Lorenz: the solver stopped after time 0.7: Required step"):
        sample_flow(Lorenz(), 3, 1, method="radau")


class LeastSquares:
    """A regressor of scikit-learn's kind."""

    def fit(self, X, y):
        self.coefficients_ = np.linalg.lstsq(X, y, rcond=None)[0]
        return self

    def predict(self, X):
        return X @ self.coefficients_


@pytest.mark.parametrize("coordinates", [1, 2])
def test_a_regressor_is_iterated(coordinates):
    """A sinusoid is 2 cos(ω) times the last point, less the one before."""
    t = torch.arange(80, dtype=torch.float64)
    x = torch.stack([(0.3 * t).sin(), (0.3 * t).cos()], 1)[:, :coordinates]
    given = LeastSquares()
    forecaster = Autoregressive(given, lags=2).fit(x[:60])
    torch.testing.assert_close(forecaster.predict(20), x[60:], rtol=0, atol=1e-9)
    torch.testing.assert_close(
        forecaster.predict(5, after=x[None, 10:30].repeat(3, 1, 1)), x[30:35].expand(3, -1, -1), rtol=0, atol=1e-9
    )
    assert not hasattr(given, "coefficients_")


def test_a_regressor_in_the_place_of_a_forecaster_is_named(near_starts):
    with pytest.raises(
        TypeError, match=r"fit of a LeastSquares takes more .* Autoregressive\(LeastSquares\(\.\.\.\), lags=5\)"
    ):
        benchmark_forecaster(LeastSquares(), [Lorenz()])
    assert len(benchmark_forecaster(Autoregressive(LeastSquares(), lags=3), [Lorenz()], periods=3).rows) == 1


def test_what_is_no_regressor_is_named():
    for wrong in (LeastSquares, 3):
        with pytest.raises(TypeError, match="regressor: an instance with fit"):
            Autoregressive(wrong)
    one = LeastSquares()
    one.predict = lambda X: X
    with pytest.raises(ValueError, match=r"regressor: of 1 rows it predicts \[1, 2\], and not \[1, 1\]"):
        Autoregressive(one, lags=2).fit(torch.arange(9.0)[:, None]).predict(1)
    with pytest.raises(ValueError, match="fit it to a series"):
        Autoregressive(LeastSquares()).predict(1)
