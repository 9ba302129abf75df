"""Importance sampling of starts: weights, smoothed errors, and series from where errors are."""

import math

import pytest
import torch

from entrokit.physics.chaos import (
    FunctionFlow,
    Lorenz,
    hard_series,
    importance_weights,
    sample_flow,
    smooth_errors,
)


@pytest.mark.parametrize(
    ("errors", "weights"), [((1, 1, 1), (1 / 3,) * 3), ((1, 2, 1), (1 / 18, 16 / 18, 1 / 18)), ((0, 0), (0.5, 0.5))]
)
def test_check_7_importance_weights(errors, weights):
    torch.testing.assert_close(importance_weights(errors), torch.tensor(weights, dtype=torch.float64))


def test_huge_errors_do_not_overflow():
    assert float(importance_weights([1e100, 0.0])[0]) == 1.0
    torch.testing.assert_close(importance_weights([3.0, 1.0], power=0.0), torch.tensor([0.5, 0.5]).double())


def test_errors_are_smoothed_and_kept_above_0():
    k = torch.arange(60, dtype=torch.float64)
    cubic = 1 + 0.01 * k + 1e-4 * k**3
    torch.testing.assert_close(smooth_errors(cubic), cubic)
    spike = torch.zeros(60, dtype=torch.float64)
    spike[30] = 1.0
    assert float(smooth_errors(spike).amin()) == 0.0


def test_new_series_start_where_errors_are():
    states = sample_flow(Lorenz(), 50, 100)
    p = torch.zeros(50)
    p[[7, 30]] = 0.5
    g = torch.Generator().manual_seed(0)
    made = hard_series(Lorenz(), states, p, g, count=6, points=10, noise=0.0)
    assert made.states.shape == (6, 10, 3)
    assert set(made.indices.tolist()) == {7, 30}
    for series, i in zip(made.states, made.indices.tolist(), strict=True):
        torch.testing.assert_close(series, states[i + 2 : i + 12], rtol=1e-6, atol=1e-6)
    moved = hard_series(Lorenz(), states, p, torch.Generator().manual_seed(0), count=6, points=10)
    assert 0 < float((moved.states - made.states).abs().amax()) < 0.1


def test_starts_are_moved_either_way_within_the_noise():
    still = FunctionFlow(label="still", field=torch.zeros_like, period=1.0, start=(1.0, 2.0))
    made = hard_series(still, [[1.0, 2.0]], [1.0], torch.Generator().manual_seed(0), count=500, points=1, noise=0.1)
    moved = made.states[:, 0] - torch.tensor([1.0, 2.0])
    assert float(moved.abs().amax()) <= 0.1 + 1e-12
    # Uniform in ±0.1: a mean of 500 has the standard error 0.1 / sqrt(3 * 500) = 0.0026, a root mean square 0.0011.
    assert float(moved.mean(0).abs().amax()) < 0.013
    assert moved.square().mean(0).sqrt().tolist() == pytest.approx([0.1 / math.sqrt(3)] * 2, abs=0.006)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: importance_weights([1.0, -1.0]), "at least 0"),
        (lambda: smooth_errors(torch.ones(9)), "as many as the window"),
        (lambda: hard_series(Lorenz(), torch.ones(9, 3), torch.ones(8)), "one of 9 states each"),
        (lambda: hard_series(Lorenz(), torch.ones(9, 3), torch.zeros(9)), "one of 9 states each"),
    ],
)
def test_what_is_none_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
