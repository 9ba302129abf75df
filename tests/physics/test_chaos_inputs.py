"""What users hand over: NumPy's views and whole numbers, Jacobians that are none."""

import math

import numpy as np
import pytest
import torch

from entrokit.physics.chaos import (
    LinearAutoregression,
    Lorenz,
    MeanForecaster,
    forecast_error,
    kaplan_yorke_dimension,
    lyapunov_spectrum,
    map_lyapunov_spectrum,
    multiscale_entropy,
    nrmse,
    pesin_entropy,
    sample_entropy,
)


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
    with pytest.raises(ValueError, match="real exponents are expected"):
        measure(np.array([1 + 2j, -1]))


def test_jacobians_that_are_none_are_named():
    flow = Lorenz()
    with pytest.raises(ValueError, match=r"jac: the Jacobian at or behind the state \[-9\.787, .*\] is not finite"):
        lyapunov_spectrum(flow, flow.start, 0.01, 5, lambda x: x[..., None] * torch.full((3,), math.nan))
    with pytest.raises(ValueError, match=r"jac: \[5, 3, 3\] is expected of states \[5, 3\]; got \[2, 2\]"):
        lyapunov_spectrum(flow, flow.start, 0.01, 5, lambda _: torch.eye(2))


def test_one_jacobian_may_stand_for_all_states():
    pull = torch.diag(torch.tensor([0.5, 0.25], dtype=torch.float64))
    found = map_lyapunov_spectrum(lambda x: x @ pull, [1.0, 1.0], 20, lambda _: pull)
    assert found.tolist() == pytest.approx([math.log(0.5), math.log(0.25)])
