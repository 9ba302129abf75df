"""Gibbs weights and the loss that they weigh."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.generative.weighted_flow import (
    Potentials,
    cost_matrix,
    gibbs_weights,
    pair_costs,
    tilt_diagnostics,
    weighted_flow_loss,
)

from .weighted_flow_cases import X, Y, every_pair, normal


def test_check_2_a_tiny_loss():
    x, y = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    v = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    raw = gibbs_weights(x, y, 2.0, normalize=None)
    assert raw.tolist() == pytest.approx([0.606531] * 2, abs=5e-7)
    assert float(weighted_flow_loss(v, y - x, raw)) == pytest.approx(0.151633, abs=5e-7)
    assert float(weighted_flow_loss(v, y - x, gibbs_weights(x, y, 2.0))) == 0.25


@pytest.mark.parametrize(
    ("cost", "expected"),
    [("l2", 5.0), ("sqeuclidean", 25.0), ("l1", 7.0), (lambda x, y: (x - y).abs().amax(-1), 4.0)],
    ids=["l2", "sqeuclidean", "l1", "callable"],
)
def test_costs_by_pairs_and_by_all_pairs(cost, expected):
    x, y = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[3.0, 4.0], [-4.0, 3.0]], dtype=torch.float64)
    assert pair_costs(x, y, cost).tolist() == [expected] * 2
    x, y = normal(3, 2), normal(4, 2, seed=1)
    table = cost_matrix(x, y, cost)
    assert table.shape == (3, 4)
    for j in range(4):
        torch.testing.assert_close(table[:, j], pair_costs(x, y[j].expand(3, 2), cost), rtol=1e-9, atol=0)


def test_a_callable_s_table_is_the_same_however_many_pairs_it_sees_at_a_time(monkeypatch):
    from entrokit.generative.weighted_flow import costs

    x, y = normal(5, 2, 3), normal(4, 2, 3, seed=1)

    seen = []

    def lopsided(a, b):
        seen.append(len(a))
        return (a - 2 * b).flatten(1).abs().sum(1)

    whole = cost_matrix(x, y, lopsided)
    for numbers in (2 * y.numel(), 1):
        monkeypatch.setattr(costs, "_AT_ONCE", numbers)
        assert torch.equal(cost_matrix(x, y, lopsided), whole)
    assert seen == [20, 8, 8, 4, 4, 4, 4, 4, 4]
    assert float(whole[1, 3]) == pytest.approx(float((x[1] - 2 * y[3]).abs().sum()), rel=1e-12)


def test_images_are_flattened_before_the_norm():
    x, y = normal(5, 3, 4, 4), normal(5, 3, 4, 4, seed=1)
    torch.testing.assert_close(gibbs_weights(x, y, 2.0), gibbs_weights(x.flatten(1), y.flatten(1), 2.0))
    expected = torch.stack([(a - b).square().sum().sqrt() for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(pair_costs(x, y), expected)
    v, w = normal(5, 3, 4, 4, seed=2), gibbs_weights(x, y, 2.0)
    by_hand = sum(w[i] * (v[i] - y[i]).square().sum() for i in range(5)) / 5
    torch.testing.assert_close(weighted_flow_loss(v, y, w), by_hand)


@given(st.integers(0, 10_000), st.floats(0.05, 50.0), st.floats(-30.0, 30.0))
@settings(max_examples=40, deadline=None)
def test_batch_weights_have_mean_1_and_do_not_know_a_constant_of_the_cost(seed, eps, constant):
    x, y = normal(7, 3, seed=seed), normal(7, 3, seed=seed + 1)
    weight = gibbs_weights(x, y, eps)
    assert float(weight.mean()) == pytest.approx(1.0, abs=1e-12)
    order = pair_costs(x, y).argsort()
    assert bool((weight[order].diff() <= 0).all())
    moved = gibbs_weights(x, y, eps, lambda a, b: (a - b).norm(dim=1) + constant)
    torch.testing.assert_close(moved, weight, rtol=1e-9, atol=1e-12)


def test_a_number_divides_by_z_and_makes_every_pair_weigh_1_on_the_mean():
    x, y = every_pair()
    log_z = tilt_diagnostics(X, Y, 1.0)["log_Z"]
    known = gibbs_weights(x, y, 1.0, normalize=log_z)
    assert float(known.mean()) == pytest.approx(1.0, abs=1e-12)
    torch.testing.assert_close(known, gibbs_weights(x, y, 1.0, normalize=None) / math.exp(log_z))


def test_micro_batches_agree_by_log_z_and_a_batch_of_one_is_plain_by_its_mean():
    x, y = every_pair()
    log_z = tilt_diagnostics(X, Y, 1.0)["log_Z"]
    parts = [gibbs_weights(a, b, 1.0, normalize=log_z) for a, b in zip(x.split(1), y.split(1), strict=True)]
    torch.testing.assert_close(torch.cat(parts), gibbs_weights(x, y, 1.0, normalize=log_z))
    assert all(gibbs_weights(a, b, 1.0).tolist() == [1.0] for a, b in zip(x.split(1), y.split(1), strict=True))


def test_potentials_multiply_the_kernel():
    x, y = every_pair()
    pair = Potentials(lambda p: 0.3 * p[:, 0], lambda p: p[:, 1] - 1.0)
    expected = (0.3 * x[:, 0] + y[:, 1] - 1.0 - (x - y).norm(dim=1) / 2.0).exp()
    torch.testing.assert_close(gibbs_weights(x, y, 2.0, normalize=None, potentials=pair), expected)
    torch.testing.assert_close(gibbs_weights(x, y, 2.0, potentials=tuple(pair)), expected / expected.mean())


def test_high_dimensions_underflow_in_no_batch_and_are_refused_without_one():
    """CIFAR-10's: distances near 78 in 3,072 dimensions; at ε = 0.5 exp(-156) is 0 in float32."""
    x, y = normal(16, 3, 32, 32, dtype=torch.float32), normal(16, 3, 32, 32, seed=1, dtype=torch.float32)
    weight = gibbs_weights(x, y, 0.5)
    assert weight.dtype == torch.float32
    assert float(weight.mean()) == pytest.approx(1.0, rel=1e-6)
    exact = gibbs_weights(x.double(), y.double(), 0.5)
    # A sum of 3,072 squares is right to 8 √3072 units in float32, its root to half of that; 156 of it is exponents.
    torch.testing.assert_close(weight.double(), exact, rtol=160 * 4 * math.sqrt(3072) * 6e-8, atol=0)
    with pytest.raises(ValueError, match=r"underflow to 0.*exp\(-15.*float32.*normalize='batch'.*larger than 0.5"):
        gibbs_weights(x, y, 0.5, normalize=None)
    with pytest.raises(ValueError, match="overflow"):
        gibbs_weights(x, y, 0.5, normalize=-400.0)
    # One survivor is enough, and says so by its weight.
    assert gibbs_weights(x, y, 1e-3).max() == 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_points_are_weighed_in_float32(dtype):
    x = torch.full((2, 4), 200.0, dtype=dtype)
    y = -x
    y[1] = 0
    # Squares of 400 are infinite in float16.
    assert pair_costs(x, y).tolist() == [800.0, 400.0]
    weight = gibbs_weights(x, y, 100.0)
    assert weight.dtype == torch.float32
    assert float(weight[1] / weight[0]) == pytest.approx(math.exp(4.0), rel=1e-5)
    loss = weighted_flow_loss(x, y, torch.ones(2))
    assert (loss.dtype, float(loss)) == (torch.float32, 400_000.0)


def test_gradients_of_the_loss_are_those_of_differences_and_weights_have_none():
    v, u, w = normal(3, 2).requires_grad_(), normal(3, 2, seed=1), normal(3, seed=2).abs()
    assert torch.autograd.gradcheck(lambda v: weighted_flow_loss(v, u, w), v)
    (gradient,) = torch.autograd.grad(weighted_flow_loss(v, u, w), v)
    torch.testing.assert_close(gradient, 2 * w[:, None] * (v - u).detach() / 3)
    x = normal(3, 2).requires_grad_()
    assert not gibbs_weights(x, u, 1.0).requires_grad
    assert not pair_costs(x, u, lambda a, b: v.sum() * (a - b).norm(dim=1)).requires_grad


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, True])
def test_a_temperature_that_is_none_is_refused(eps):
    with pytest.raises(ValueError, match="eps: must be above 0"):
        gibbs_weights(X, X, eps)


@pytest.mark.parametrize("normalize", ["mean", True, math.nan, math.inf])
def test_a_normalisation_that_is_none_is_refused(normalize):
    with pytest.raises(ValueError, match="normalize: is 'batch', None or a finite number"):
        gibbs_weights(X, X, 1.0, normalize=normalize)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(2, 2), torch.zeros(3, 2), r"one shape; they have \[2, 2\] and \[3, 2\]"),
        (torch.zeros(2, 2), torch.zeros(2, 1), "one shape"),
        (torch.zeros(0, 2), torch.zeros(0, 2), "x: points .* at least one"),
        (torch.zeros(2, 2), torch.zeros(()), "y: points"),
        (torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, 2), r"x: a floating dtype.*int64.*x\.float\(\)"),
        (torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.uint8), "y: a floating dtype.*uint8"),
        (
            torch.zeros(2, 2),
            torch.tensor([[0.0, 0.0], [0.0, math.nan]]),
            "cost of pair 1 is nan: the target there holds",
        ),
        (
            torch.tensor([[math.inf, 0.0], [0.0, 0.0]]),
            torch.zeros(2, 2),
            "cost of pair 0 is inf: the source there holds",
        ),
    ],
    ids=["batches", "particles", "empty", "scalar", "integers", "bytes", "nan", "infinity"],
)
def test_what_is_no_batch_of_pairs_is_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        gibbs_weights(x, y, 1.0)


def test_costs_and_potentials_that_are_none_are_named():
    with pytest.raises(ValueError, match="cost: is one of l2, sqeuclidean, l1 or a callable; got 'l3'"):
        gibbs_weights(X, X, 1.0, "l3")
    with pytest.raises(ValueError, match="cost: is one of"):
        cost_matrix(X, Y, "l3")
    with pytest.raises(ValueError, match=r"cost: for 2 pairs it must give \[2\]; its shape is \[2, 2\]"):
        gibbs_weights(X, X, 1.0, lambda a, b: (a - b).abs())
    with pytest.raises(ValueError, match=r"cost of pair 0 is inf$"):
        gibbs_weights(X, X + 1, 1.0, lambda a, b: (a - b).sum(1) / 0.0 * -1)
    with pytest.raises(ValueError, match=r"potentials, target: finite logarithms \[2\].*shape \[2, 2\]"):
        gibbs_weights(X, X, 1.0, potentials=(lambda p: p[:, 0], lambda p: p))
    with pytest.raises(ValueError, match="potentials, source: .*not all finite"):
        gibbs_weights(X, X, 1.0, potentials=(lambda p: p[:, 0].log(), lambda p: p[:, 0]))


def test_all_pairs_of_other_points_or_with_nan_are_named():
    with pytest.raises(ValueError, match=r"one shape; they are \[2\] and \[1\]"):
        cost_matrix(X, Y[:, :1])
    with pytest.raises(ValueError, match="y: point 2 holds NaN"):
        cost_matrix(X, torch.tensor([[0.0, 0], [1, 1], [math.nan, 0]]))
    with pytest.raises(ValueError, match="x: a floating dtype"):
        cost_matrix(X.long(), Y)


@pytest.mark.parametrize(
    ("velocity", "weight"),
    [((3, 1), (3,)), ((3, 2), (3, 1)), ((3, 2), ()), ((3, 2), (2,))],
    ids=["one column", "column of weights", "scalar", "short"],
)
def test_shapes_that_would_broadcast_into_another_loss_are_refused(velocity, weight):
    with pytest.raises(ValueError, match="velocity, target .* and weight"):
        weighted_flow_loss(torch.zeros(velocity), torch.zeros(3, 2), torch.ones(weight))
