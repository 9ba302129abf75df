"""Minimisation: functions whose minimum is known, borders, and ends that are named."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from entrokit.search.cross_entropy import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    EmptyEliteError,
    Gaussian,
    cross_entropy_minimize,
)

from .cross_entropy_cases import double, generator

AT = double(1.0, -2.0, 0.5)
WIDE = DiagonalGaussian(torch.zeros(3, dtype=torch.float64), 3.0)


def bowl(x):
    return (x - AT).square().sum(1)


@pytest.mark.parametrize("start", [WIDE, Gaussian(torch.zeros(3), 9.0 * torch.eye(3))], ids=["diagonal", "full"])
def test_a_bowl(start):
    found = cross_entropy_minimize(lambda x: (x - AT.to(x)).square().sum(1), start, generator=generator())
    assert found.fun < 1e-10
    assert (found.x - AT).abs().max() < 1e-5
    assert found.nfev == 200 * found.nit == 200 * len(found.history)


def test_it_says_how_it_went():
    found = cross_entropy_minimize(bowl, WIDE, generator=generator())
    assert found.success
    assert found.status == "converged"
    assert found.history[-1].spread < 1e-10
    best = [step.best for step in found.history]
    assert best == sorted(best, reverse=True)
    assert all(step.elite == 20 and step.elite_worst >= step.best for step in found.history)
    assert float(bowl(found.x[None])) == found.fun


def test_an_iteration_is_told_by_its_draws():
    """The elite is ⌈ρN⌉, and 0.07 · 100 is 7.000000000000001 in doubles."""
    found = cross_entropy_minimize(bowl, WIDE, generator=generator(), n=100, elite=0.07, max_iter=1, tol=0.0)
    x = WIDE.sample(100, generator())
    values = bowl(x).sort().values
    step = found.history[0]
    assert (step.best, step.elite_worst, step.elite) == (float(values[0]), float(values[6]), 7)
    assert step.spread == pytest.approx(float(x.std(0, correction=0).max()), rel=1e-12)


def test_a_rotated_valley_needs_the_full_covariance():
    g = generator(5)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64))[0]
    axes = torch.logspace(0, 4, 6, dtype=torch.float64)

    def valley(x):
        return ((x @ rotation).square() * axes).sum(1)

    start = torch.full((6,), 0.2, dtype=torch.float64)
    full = cross_entropy_minimize(valley, Gaussian(start, torch.eye(6)), generator=generator(), max_iter=60)
    diagonal = cross_entropy_minimize(valley, DiagonalGaussian(start, 1.0), generator=generator(), max_iter=60)
    assert full.fun < 1e-6 < diagonal.fun
    far = cross_entropy_minimize(valley, Gaussian(start + 1.0, torch.eye(6)), generator=generator())
    assert far.history[-1].spread < 1e-4, "from farther away it collapses on the way"
    assert far.fun > 1.0


def test_bits_and_choices():
    wanted = torch.tensor([1.0, 0, 0, 1, 1, 0, 1, 0, 1, 1])
    bits = cross_entropy_minimize(lambda x: (x != wanted).sum(1), Bernoulli([0.5] * 10), generator=generator())
    assert bits.fun == 0
    assert torch.equal(bits.x, wanted.double())
    word = torch.tensor([2, 0, 3, 1])
    choices = cross_entropy_minimize(
        lambda x: (x != word).sum(1), Categorical(torch.full((4, 4), 0.25)), generator=generator()
    )
    assert choices.fun == 0
    assert torch.equal(choices.x, word)
    assert choices.status == "converged"


def test_an_optimum_in_a_corner_is_met_exactly():
    found = cross_entropy_minimize(
        lambda x: x[:, 0] - x[:, 1], DiagonalGaussian([0.5, 2.5], 0.5), generator=generator(), bounds=[(0, 1), (2, 3)]
    )
    assert found.x.tolist() == [0.0, 3.0]
    assert found.fun == -3.0


def test_points_that_are_not_allowed_are_infinite():
    found = cross_entropy_minimize(
        lambda x: torch.where(x[:, 0] > 0.5, x.square().sum(1), torch.inf), WIDE, generator=generator()
    )
    assert found.fun == pytest.approx(0.25, abs=1e-3)
    with pytest.raises(EmptyEliteError, match=r"iteration 1: fn is \+inf at all 200 draws"):
        cross_entropy_minimize(lambda x: torch.full((len(x),), torch.inf), WIDE, generator=generator())


def test_an_elite_of_one_draw():
    """With smoothing the width shrinks by 0.3 an iteration; without, the search is over at once, and says so."""
    smooth = cross_entropy_minimize(bowl, WIDE, generator=generator(), n=50, elite=0.01, max_iter=5)
    assert [step.elite for step in smooth.history] == [1] * 5
    assert smooth.sampler.std.tolist() == pytest.approx([3.0 * 0.3**5] * 3)
    greedy = cross_entropy_minimize(bowl, WIDE, generator=generator(), n=50, elite=0.01, smoothing=1.0)
    assert greedy.nit == 2
    assert greedy.status == "converged"
    assert greedy.fun > 1e-3


def test_it_goes_on_from_its_sampler():
    g, whole = generator(), cross_entropy_minimize(bowl, WIDE, generator=generator(), max_iter=20)
    first = cross_entropy_minimize(bowl, WIDE, generator=g, max_iter=8)
    assert first.status == "max_iter"
    second = cross_entropy_minimize(bowl, first.sampler, generator=g, max_iter=12)
    assert second.fun == whole.fun
    assert torch.equal(second.x, whole.x)
    assert torch.equal(second.sampler.std, whole.sampler.std)


def test_a_best_value_that_stands_still_has_stalled():
    found = cross_entropy_minimize(
        lambda x: torch.zeros(len(x)), WIDE, generator=generator(), smoothing=0.01, patience=4
    )
    assert found.status == "stalled"
    assert not found.success
    assert found.nit == 5


def test_float32_and_numpy():
    start = DiagonalGaussian(torch.zeros(3), torch.full((3,), 3.0))
    found = cross_entropy_minimize(lambda x: bowl(x.double()), start, generator=generator(), tol=1e-5)
    assert found.x.dtype == torch.float32
    assert found.fun < 1e-6
    arrays = cross_entropy_minimize(lambda x: np.square(np.asarray(x) - AT.numpy()).sum(1), WIDE, generator=generator())
    assert arrays.fun < 1e-15


def test_a_list_of_values_keeps_double_precision():
    """In float32, torch's own for lists, values near 1000 would be 6e-5 apart."""
    found = cross_entropy_minimize(lambda x: [1000.0 + v for v in bowl(x).tolist()], WIDE, generator=generator())
    assert found.fun == 1000.0 + float(bowl(found.x[None]))
    assert (found.x - AT).abs().max() < 1e-5


def test_a_function_that_works_in_place_changes_no_draw():
    def moved(x):
        x -= AT
        return x.square_().sum(1)

    found = cross_entropy_minimize(moved, WIDE, generator=generator())
    assert torch.equal(found.x, cross_entropy_minimize(bowl, WIDE, generator=generator()).x)


def test_bounds_may_be_open():
    found = cross_entropy_minimize(
        lambda x: x.square().sum(1), WIDE, generator=generator(), bounds=[(1, None), (None, -2.0), (None, None)]
    )
    assert found.x[:2].tolist() == [1.0, -2.0]
    assert abs(found.x[2]) < 1e-8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"elite": 0.0}, "elite must lie between 0 and 1"),
        ({"n": True}, "n must be a whole number"),
        ({"smoothing": 1.5}, r"smoothing must lie in \(0, 1\]"),
        ({"max_iter": 0}, "max_iter"),
        ({"max_iter": 20.0}, r"max_iter must be a whole number of at least 1, got 20\.0"),
        ({"tol": -1.0}, "tol must be at least 0"),
        ({"tol": math.nan}, "tol must be finite"),
        ({"bounds": (0.0, 1.0)}, r"one pair \(low, high\) a coordinate of draws \[n, d\]; got 0.0 for one"),
        ({"bounds": [(0, 1)] * 2}, r"got \[2, 2\] for draws \[200, 3\]"),
        ({"bounds": [(0, 1), (0, 1), (1, 0)]}, "every low must be below its high"),
        ({"bounds": [(0, 1), (0,), (1, 2)]}, r"one pair \(low, high\) a coordinate"),
        ({"bounds": [(-1, 1), (60, 70), (-1, 1)]}, r"all 200 first draws are below 60 in coordinate 1"),
        ({"bounds": [(-1, 1), (-1, 1), (None, -60)]}, r"all 200 first draws are above -60 in coordinate 2"),
        ({"fn": lambda x: bowl(x) * math.nan}, "fn is NaN in 200 of 200 draws"),
        ({"fn": lambda x: 1.0}, r"takes all 200 draws at once"),
    ],
    ids=[
        "elite",
        "n",
        "smoothing",
        "max-iter",
        "max-iter-float",
        "tol",
        "tol-nan",
        "bounds-flat",
        "bounds-few",
        "bounds-reversed",
        "bounds-ragged",
        "below",
        "above",
        "nan",
        "shape",
    ],
)
def test_what_cannot_be_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        cross_entropy_minimize(**({"fn": bowl, "sampler": WIDE, "generator": generator()} | change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": [0.0, 1.0]}, "sampler must be a sampler"),
        ({"generator": 0}, "generator must be a torch.Generator"),
        ({"fn": 3.0}, "fn must be a function of draws"),
        ({"tol": "small"}, "tol must be a number"),
        ({"elite": [0.1]}, "elite must be a number"),
        ({"smoothing": None}, "smoothing must be a number"),
    ],
    ids=["sampler", "generator", "fn", "tol", "elite", "smoothing"],
)
def test_what_is_of_another_kind_is_named(change, said):
    with pytest.raises(TypeError, match=said):
        cross_entropy_minimize(**({"fn": bowl, "sampler": WIDE, "generator": generator()} | change))


def test_bounds_may_be_scipy_s():
    """By their attributes; one number stands for all coordinates."""
    pairs = [(-3.0, 3.0), (-1.0, 3.0), (0.0, 3.0)]
    as_pairs, as_scipy = (
        cross_entropy_minimize(bowl, WIDE, generator=generator(), bounds=bounds)
        for bounds in (pairs, SimpleNamespace(lb=np.array([-3.0, -1.0, 0.0]), ub=3.0))
    )
    assert torch.equal(as_pairs.x, as_scipy.x)
    assert float(as_scipy.x[1]) == -1.0
    with pytest.raises(
        ValueError, match=r"bounds\.lb is one number, or one a coordinate of draws \[200, 3\]; got \[2\]"
    ):
        cross_entropy_minimize(bowl, WIDE, generator=generator(), bounds=SimpleNamespace(lb=[0.0, 0.0], ub=3.0))


def test_what_is_printed_of_a_minimum_has_not_every_iteration():
    found = cross_entropy_minimize(bowl, WIDE, generator=generator(), max_iter=20)
    assert "history" not in repr(found)
    assert f"nit={found.nit}" in repr(found)
