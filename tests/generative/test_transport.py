"""Exact W2, and where a flow's points go and what it costs."""

import builtins
import math

import pytest
import torch

from entrokit.extras import MissingExtraError
from entrokit.generative.transport import integrate, normalised_path_energy, wasserstein2

from .weighted_flow_cases import normal


def test_a_translation_and_a_permutation_cost_what_they_move():
    x = normal(40, 3)
    moved = x[torch.randperm(40, generator=torch.Generator().manual_seed(1))] + torch.tensor([3.0, 0.0, 4.0])
    assert wasserstein2(x, moved) == pytest.approx(5.0, abs=1e-9)
    assert wasserstein2(x, x.flip(0)) == 0
    assert wasserstein2(x, moved) == pytest.approx(wasserstein2(moved, x), abs=1e-12)


def test_in_one_dimension_it_is_the_sorted_pairing():
    x, y = normal(30, 1), 2 * normal(30, 1, seed=1) + 1
    expected = (x.flatten().sort()[0] - y.flatten().sort()[0]).square().mean().sqrt()
    assert wasserstein2(x, y) == pytest.approx(float(expected), rel=1e-12)


def test_samples_of_other_sizes_shapes_and_dtypes():
    x, y = torch.zeros(2, 1, 2), torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]], [[0.0, -2.0]]])
    assert wasserstein2(x, y) == pytest.approx(math.sqrt(2.0), rel=1e-12)
    assert wasserstein2(x.half(), y.bfloat16().requires_grad_()) == pytest.approx(math.sqrt(2.0), rel=1e-12)


def test_pot_alone_is_asked_for_and_its_command_is_said(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "ot":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"wasserstein2 needs pot: pip install 'entrokit\[generative\]'"):
        wasserstein2(torch.zeros(2, 1), torch.zeros(2, 1))


def test_a_transport_that_is_not_solved_is_no_distance(monkeypatch):
    from entrokit.generative import transport

    monkeypatch.setattr(transport, "_PIVOTS", 3)
    with (
        pytest.warns(UserWarning, match="numItermax"),
        pytest.raises(ValueError, match="transport of 50 to 50 points was not solved"),
    ):
        wasserstein2(normal(50, 2), normal(50, 2, seed=1))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(2, 2), torch.zeros(2, 3), r"\[2, 2\] and \[2, 3\]"),
        (torch.zeros(0, 2), torch.zeros(2, 2), "samples .* are expected"),
        (torch.zeros(()), torch.zeros(3), "samples .* are expected"),
        (torch.zeros(3), torch.zeros(()), "samples .* are expected"),
        (torch.zeros(2, 2), torch.tensor([[0.0, 0], [0, math.nan]]), "y: point 1 is not finite"),
    ],
    ids=["dimensions", "empty", "scalar", "other scalar", "nan"],
)
def test_what_is_no_pair_of_samples_is_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        wasserstein2(x, y)


def test_a_constant_velocity_arrives_with_its_square_as_energy():
    x = normal(6, 2, 3)
    for method in ("midpoint", "euler"):
        points, energy = integrate(lambda t, x: torch.full_like(x, 2.0), x, 7, method)
        torch.testing.assert_close(points, x + 2, rtol=1e-12, atol=1e-12)
        assert energy == pytest.approx(6 * 4.0, rel=1e-12)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2)])
def test_steps_are_of_their_order_in_points_and_in_energy(method, order):
    """``dx/dt = t x``: x grows by sqrt(e), and the energy is the integral of ``t² exp(t²)``."""
    x = torch.ones(1, 1, dtype=torch.float64)
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    exact = math.exp(0.5), float((t**2 * (t**2).exp()).mean())
    errors = []
    for steps in (40, 80):
        points, energy = integrate(lambda t, x: t[:, None] * x, x, steps, method)
        errors.append((abs(float(points) - exact[0]), abs(energy - exact[1])))
    for coarse, fine in zip(*errors, strict=True):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_times_are_a_tensor_a_row_and_nothing_is_recorded():
    seen = []

    def velocity(t, x):
        seen.append(t)
        return x * weight

    weight = torch.ones(2, requires_grad=True)
    assert not integrate(velocity, torch.ones(3, 2), 2, "midpoint").points.requires_grad
    assert [t.tolist() for t in seen] == [[v] * 3 for v in (0.0, 0.25, 0.5, 0.75)]


def test_a_velocity_from_autocast_is_widened_before_it_is_multiplied():
    """0.02 has a relative error of 1e-3 in bfloat16, the same in each of the steps."""
    flowed = integrate(lambda t, x: torch.full_like(x, 2.0, dtype=torch.bfloat16), torch.zeros(1, 1), 100, "euler")
    # A hundred sums of at most 2, each half a unit of float32 off.
    assert float(flowed.points) == pytest.approx(2, abs=100 * 2 * 6e-8)


def test_flows_that_are_none_are_refused():
    x = torch.ones(2, 2)
    with pytest.raises(ValueError, match="steps: a whole number of at least 1"):
        integrate(lambda t, x: x, x, 0)
    with pytest.raises(ValueError, match="method: is midpoint or euler; got 'rk4'"):
        integrate(lambda t, x: x, x, 3, "rk4")
    with pytest.raises(ValueError, match=r"the velocity at t = 0 has shape \[2, 1\]; \[2, 2\]"):
        integrate(lambda t, x: x[:, :1], x)
    with pytest.raises(ValueError, match=r"velocity at t = 0\.5 is NaN or infinite in 2 of 2 samples, first in 0"):
        integrate(lambda t, x: x / (t < 0.5).float()[:, None], x, 2, "euler")
    with pytest.raises(ValueError, match="x: points"):
        integrate(lambda t, x: x, x.long())
    with pytest.raises(ValueError, match="x: points"):
        integrate(lambda t, x: x, x[:0])


def test_path_energy_against_the_square_of_the_distance():
    assert normalised_path_energy(6.0, 2.0) == 0.5
    assert normalised_path_energy(3.0, 2.0) == 0.25
    for energy, distance in ((1.0, 0.0), (1.0, math.nan), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="distance|energy"):
            normalised_path_energy(energy, distance)
