"""Rules that put a facility: the sheet's numbers, two ways to the uniform phantom, gradients, ragged batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.choice.facility import (
    average,
    constrained_median,
    median,
    midpoint,
    order_statistic,
    phantom_median,
    uniform_phantom,
)

RULES = [uniform_phantom, phantom_median, median, constrained_median, average, midpoint]
# Rounding of j/n, and of the affine map.
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def drawn(count, n, seed=0):
    """Half even, half with ties on the grid of n."""
    even = torch.rand(count, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.where(torch.arange(count)[:, None] % 2 == 0, even, (even * n).round() / n)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ((0, 0, 1), 1 / 3),
        ((0.1, 0.2, 0.9), 1 / 3),
        ((0, 0.5, 1), 0.5),
        ((0.05, 0.1, 0.15, 0.95), 0.25),
        ((0.3, 0.3, 0.3, 0.3, 0.9), 0.3),
        ((0.9, 0.95, 1), 0.9),
        ((0.2, 0.4, 0.6, 0.8), 0.5),
        ((0, 0, 0, 1, 1), 0.4),
        ((0.62,), 0.62),
    ],
)
def test_check_1_the_sheets_outcomes(x, expected):
    for rule in (uniform_phantom, phantom_median):
        assert rule(x).item() == pytest.approx(expected, abs=1e-12)
        assert rule(x[::-1]).item() == rule(x).item()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 20])
def test_check_2_the_closed_form_is_the_median_with_phantoms(n):
    x = drawn(2000, n)
    stacked = np.concatenate([x.numpy(), np.tile(np.arange(1, n) / n, (2000, 1))], 1)
    expected = torch.from_numpy(np.median(stacked, axis=1))
    torch.testing.assert_close(uniform_phantom(x), expected, **CLOSE)
    torch.testing.assert_close(phantom_median(x), expected, **CLOSE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9))
def test_check_8_moves_no_farther_than_the_reports_and_never_against_them(pairs):
    x, y = torch.tensor(pairs, dtype=torch.float64).unbind(-1)
    for rule in (uniform_phantom, median, constrained_median):
        assert (rule(x) - rule(y)).abs() <= (x - y).abs().max() + 1e-15
        assert rule(torch.maximum(x, y)) >= rule(x)


@pytest.mark.parametrize(
    ("x", "expected"),
    [((0.1, 0.2, 0.9), (0, 0, 0)), ((0.35, 0.2, 0.9), (1, 0, 0)), ((0.2, 0.9, 0.5), (0, 0, 1))],
)
@pytest.mark.parametrize("rule", [uniform_phantom, phantom_median])
def test_check_9_the_gradient_is_at_the_report_that_it_is(rule, x, expected):
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(rule(at), at)
    assert gradient.tolist() == list(expected)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_gradients_are_those_of_differences_away_from_ties(rule):
    x = torch.tensor([[0.12, 0.41, 0.87, 0.55], [0.3, 0.05, 0.92, 0.61]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rule, (x,), eps=1e-6, atol=1e-8)


def test_at_a_tie_with_a_phantom_the_gradient_is_the_reports():
    x = torch.tensor([0.2, 0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(uniform_phantom(x), x)
    assert gradient.tolist() == [0.0, 1.0]


def test_learnt_phantoms_have_a_gradient():
    p = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(phantom_median([0.1, 0.2, 0.9], p), p)
    assert gradient.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_named_rules_are_phantom_medians(n):
    x = drawn(300, n, seed=n)
    for k in range(1, n + 1):
        phantoms = [0.0] * (n - k) + [1.0] * (k - 1)
        torch.testing.assert_close(order_statistic(x, k), phantom_median(x, phantoms), rtol=0, atol=0)
        torch.testing.assert_close(order_statistic(x, k), x.sort(-1).values[:, k - 1], rtol=0, atol=0)
    left = (n - 1) // 2
    edges = [1 / n] * left + [1 - 1 / n] * (n - 1 - left)
    torch.testing.assert_close(constrained_median(x), phantom_median(x, edges), **CLOSE)
    torch.testing.assert_close(median(x), x.median(-1).values, rtol=0, atol=0)


def test_two_phantoms_more_need_not_be_unanimous():
    assert phantom_median([0.9, 0.9, 0.9], [0.0, 0.1, 0.2, 0.5]).item() == 0.5
    assert phantom_median([0.9, 0.9, 0.9], [0.1, 0.2]).item() == 0.9


def test_check_5_phantoms_beyond_1_over_n_break_individual_fair_share():
    assert phantom_median([1, 0, 0, 0], [0.1, 0.5, 0.9]).item() == 0.1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_ragged_batches_are_their_profiles_one_by_one(rule):
    x, mask = torch.full((6, 7), math.nan, dtype=torch.float64), torch.zeros(6, 7, dtype=torch.bool)
    rows = [drawn(2, n, seed=n)[0] for n in (1, 2, 3, 4, 6, 7)]
    for i, row in enumerate(rows):
        places = torch.randperm(7, generator=torch.Generator().manual_seed(i))[: len(row)]
        x[i, places], mask[i, places] = row, True
    torch.testing.assert_close(rule(x, mask=mask), torch.stack([rule(row) for row in rows]), **CLOSE)
    torch.testing.assert_close(rule(x.T, dim=0, mask=mask.T), rule(x, mask=mask), rtol=0, atol=0)


def test_padding_of_nan_has_no_gradient():
    x = torch.tensor([[0.2, math.nan, 0.8], [0.1, 0.4, 0.5]], requires_grad=True)
    for rule in RULES:
        (gradient,) = torch.autograd.grad(rule(x, mask=~x.isnan()).sum(), x)
        assert gradient.isfinite().all()
        assert gradient[0, 1] == 0


def test_phantoms_of_a_ragged_batch_are_its_first():
    x = torch.tensor([[0.9, 0.9, 0.0], [0.9, 0.1, 0.9]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert phantom_median(x, [0.3, 0.4], mask=mask).tolist() == [0.9, 0.4]
    assert phantom_median(torch.full_like(x, 0.9), [0.1, 0.2, 0.3, 0.4], mask=mask).tolist() == [0.3, 0.4]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_an_interval_is_mapped_and_the_reports_are_not(rule):
    x = drawn(200, 5)
    torch.testing.assert_close(rule(16 + 12 * x, lo=16, hi=28), 16 + 12 * rule(x), rtol=0, atol=1e-11)
    crowded = 0.2 + 0.1 * x
    assert not torch.allclose(uniform_phantom(crowded), 0.2 + 0.1 * uniform_phantom(x))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_equal_reports_are_the_outcome_to_the_last_bit(rule):
    for value in (0.0, 0.1, 1 / 3, 0.7, 1.0):
        at = torch.full((3, 7), value, dtype=torch.float64)
        assert (rule(at) - value).abs().max() <= (2**-52 if rule is average else 0.0)
    ends = torch.full((2, 5), 0.3, dtype=torch.float32)
    assert (rule(ends, lo=0.1, hi=ends[0, 0].item()) <= ends[0, 0]).all()


def test_the_sort_of_numpy_is_that_of_torch():
    x = drawn(500, 6)
    assert torch.equal(uniform_phantom(x), uniform_phantom(x.clone().requires_grad_()).detach())


def test_the_ends_of_an_interval_are_exact():
    assert 0.2 + (0.9 - 0.2) < 0.9
    assert uniform_phantom([0.9, 0.9, 0.9], 0.2, 0.9).item() == 0.9
