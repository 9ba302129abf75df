"""Utility-probability duality (arXiv 2305.14859): the likelihood's gradient as preferences. Numbers from the sheet."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, logsigmoid

from entrokit.losses.preference import (
    preference_gradient_weights,
    preference_loss,
    preference_margin,
    sampled_preference_loss,
)

from .preference_cases import FLOAT64, W, X, forbidding, rows

ROWS = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(0, 10**6))


def test_check_1_a_linear_utility():
    w = W.clone().requires_grad_()
    u, y = w @ X, torch.tensor(2)
    torch.testing.assert_close(u.detach(), torch.tensor([-0.45, 1.4, 0.15, -1.3], dtype=FLOAT64))
    weights = preference_gradient_weights(u, y)
    assert weights.tolist() == pytest.approx([0.104065, 0.661836, 0.0, 0.044479], abs=5e-7)
    assert float(weights.sum()) == pytest.approx(0.810381, abs=5e-7)
    (found,) = torch.autograd.grad(-preference_loss(u, y), w)
    expected = [
        [-0.104065, 0.052033, -0.208131],
        [-0.661836, 0.330918, -1.323673],
        [0.810381, -0.405190, 1.620761],
        [-0.044479, 0.022240, -0.088958],
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=FLOAT64), rtol=0, atol=6e-7)
    (likelihood,) = torch.autograd.grad(torch.log_softmax(w @ X, -1)[2], w)
    torch.testing.assert_close(found, likelihood, rtol=0, atol=1e-12)


def test_check_2_a_step_widens_every_margin():
    u, y, eta = W @ X, torch.tensor(2), 0.5
    p = torch.softmax(u, -1)
    after = u + eta * (torch.nn.functional.one_hot(y, 4) - p)
    grown = (after[2] - after) - (u[2] - u)
    assert grown[[0, 1, 3]].tolist() == pytest.approx([0.457223, 0.736109, 0.427430], abs=5e-7)
    torch.testing.assert_close(grown, eta * (1 - p[2] + p) * torch.tensor([1, 1, 0, 1]), rtol=0, atol=1e-12)


@given(ROWS, st.floats(1e-3, 2.0))
def test_a_gradient_step_never_narrows_a_margin(shape, eta):
    u, y = rows(*shape)
    u = u.requires_grad_()
    (gradient,) = torch.autograd.grad(preference_loss(u, y), u)
    own = torch.arange(len(u))
    grown = ((u - eta * gradient)[own, y, None] - (u - eta * gradient)) - (u[own, y, None] - u)
    rivals = torch.ones_like(u, dtype=torch.bool)
    rivals[own, y] = False
    assert (grown[rivals] > 0).all()


def test_check_3_two_outputs_are_a_logistic_preference():
    u = torch.tensor([0.7, -0.4], dtype=FLOAT64)
    assert float(torch.log_softmax(u, -1)[0]) == pytest.approx(-0.287335, abs=5e-7)
    assert float(logsigmoid(preference_margin(u, torch.tensor(0)))) == pytest.approx(-0.287335, abs=5e-7)
    weights = preference_gradient_weights(u, torch.tensor(0))
    assert weights.tolist() == pytest.approx([0.0, 1 - math.exp(-0.287335)], abs=5e-7)


@given(ROWS)
def test_loss_and_gradient_are_those_of_the_likelihood(shape):
    u, y = rows(*shape)
    u = u.requires_grad_()
    loss, nll = preference_loss(u, y), cross_entropy(u, y)
    p = torch.softmax(u, -1)
    entropy = -(p * p.log()).sum(-1).mean()
    assert loss.item() == pytest.approx((nll - entropy).item(), abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss, u)[0], torch.autograd.grad(nll, u)[0], rtol=0, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences_of_the_likelihood():
    u, y = rows(3, 5)
    (found,) = torch.autograd.grad(preference_loss(u.requires_grad_(), y), u)
    h = 1e-6
    for i in range(3):
        for k in range(5):
            moved = torch.zeros_like(u)
            moved[i, k] = h
            slope = (cross_entropy(u.detach() + moved, y) - cross_entropy(u.detach() - moved, y)) / (2 * h)
            # Central differences: h² of the third derivative, and rounding over h.
            assert float(found[i, k]) == pytest.approx(float(slope), abs=1e-9)


def test_forbidden_candidates_weigh_nothing():
    u, y = rows(5, 6)
    u = forbidding(u, y).requires_grad_()
    weights = preference_gradient_weights(u, y)
    assert (weights[u.detach() == -torch.inf] == 0).all()
    loss = preference_loss(u, y)
    p = torch.softmax(u.detach(), -1)
    entropy = -torch.special.xlogy(p, p).sum(-1).mean()
    assert loss.item() == pytest.approx(float(cross_entropy(u.detach(), y) - entropy), abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, u)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient, torch.autograd.grad(cross_entropy(u, y), u)[0], rtol=0, atol=1e-12)
    sampled = sampled_preference_loss(u, y, 50)
    assert torch.isfinite(torch.autograd.grad(sampled, u)[0]).all()


def test_check_7_sampled_rivals_are_unbiased():
    w, draws = W.clone().requires_grad_(), 200_000
    u, y = w @ X, torch.tensor(2)
    loss = sampled_preference_loss(u, y, draws, torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(-loss, w, retain_graph=True)
    (exact,) = torch.autograd.grad(-preference_loss(u, y), w)
    # The largest standard deviation of an entry is |x| /2, its error a 450th of that.
    assert (found - exact).abs().max() < 5e-3
    assert loss.item() == pytest.approx(preference_loss(u, y).item(), abs=5e-3)


def test_one_sampled_rival_moves_two_outputs_or_none():
    u, y = rows(1, 5)
    seen = set()
    for seed in range(40):
        u = u.detach().requires_grad_()
        sampled_preference_loss(u, y, generator=torch.Generator().manual_seed(seed)).backward()
        seen.add(tuple(u.grad[0].tolist()))
    own = int(y[0])
    for gradient in seen - {(0.0,) * 5}:
        assert gradient[own] == -1.0
        assert sorted(gradient) == [-1.0, 0.0, 0.0, 0.0, 1.0]
    assert (0.0,) * 5 in seen
    assert len(seen) > 2


def test_more_dimensions_and_the_same_draw():
    u, y = rows(6, 4)
    shaped, own = u.view(2, 3, 4), y.view(2, 3)
    assert float(preference_loss(shaped, own)) == pytest.approx(float(preference_loss(u, y)), abs=1e-12)
    torch.testing.assert_close(preference_gradient_weights(shaped, own).view(6, 4), preference_gradient_weights(u, y))
    drawn = [sampled_preference_loss(a, b, 3, torch.Generator().manual_seed(1)) for a, b in ((shaped, own), (u, y))]
    assert float(drawn[0]) == pytest.approx(float(drawn[1]), abs=1e-12)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_taken_in_float32(half):
    u, y = rows(4, 5, dtype=half)
    loss = preference_loss(u.requires_grad_(), y)
    assert loss.dtype == torch.float32
    single = u.detach().float().requires_grad_()
    assert loss.item() == preference_loss(single, y).item()
    (gradient,) = torch.autograd.grad(loss, u)
    assert gradient.dtype == half
    torch.testing.assert_close(gradient, torch.autograd.grad(preference_loss(single, y), single)[0].to(half))


INF, NAN = torch.inf, torch.nan


@pytest.mark.parametrize("function", [preference_loss, preference_gradient_weights, sampled_preference_loss])
@pytest.mark.parametrize(
    ("u", "target", "error", "message"),
    [
        ([[0.0, NAN]], [0], ValueError, r"1 of 1 rows hold NaN, \+inf or nothing but -inf, first row \[0\]"),
        ([[0.0, 1.0], [0.0, INF]], [0, 0], ValueError, r"1 of 2 rows .* first row \[1\]"),
        ([[-INF, -INF]], [0], ValueError, "every row needs one that is allowed"),
        ([[0.0, -INF]], [1], ValueError, r"observed output of row \[0\] has utility -inf"),
        ([[0.0, 1.0]], [2], ValueError, r"target 2 of row \[0\] lies outside of the 2 candidates"),
        ([[0.0, 1.0]], [-1], ValueError, r"target -1 of row \[0\]"),
        ([[0.0, 1.0]], [0, 1], ValueError, r"one index a row, shape \[1\], got \[2\]"),
        ([[0.0, 1.0]], [0.5], TypeError, "target must be a tensor of integers, got torch.float32"),
        ([[0, 1]], [0], TypeError, "utilities must be a tensor of floats, got torch.int64"),
        ([[]], [0], ValueError, "hold no candidates"),
    ],
)
def test_bad_input_is_named(function, u, target, error, message):
    with pytest.raises(error, match=message):
        function(torch.tensor(u), torch.tensor(target))


def test_no_rows_and_no_rivals_drawn():
    with pytest.raises(ValueError, match="there are no rows"):
        preference_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    for bad in (0, True, 1.5):
        with pytest.raises(ValueError, match="n_rivals must be a whole number of at least 1"):
            sampled_preference_loss(torch.zeros(1, 3), torch.tensor([0]), bad)
    with pytest.raises(TypeError, match="got list"):
        preference_loss([[0.0]], torch.tensor([0]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_narrow_integers_are_targets_of_many_candidates(dtype):
    u, target = torch.linspace(-1.0, 1.0, 900).view(3, 300), torch.tensor([1, 100, 200])
    assert float(preference_loss(u, target.to(dtype))) == float(preference_loss(u, target))
    with pytest.raises(TypeError, match="got torch.complex64"):
        preference_loss(u, target.to(torch.complex64))
