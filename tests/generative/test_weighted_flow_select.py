"""Which temperature is taken."""

import math
import warnings

import numpy as np
import pytest
import torch

from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.weighted_flow import epsilon_within, select_epsilon, tilt_diagnostics

from .weighted_flow_cases import X, Y, normal

GRID = [0.25 * 2 ** (i / 2) for i in range(12)]


@pytest.fixture(scope="module")
def circle():
    """A Gaussian, and eight on a circle: check 6's."""
    target = GaussianMixture.circle(dtype=torch.float64).sample(400, torch.Generator().manual_seed(1))
    return normal(400, 2), target


def quiet(call, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call(*arguments, **options)


def test_check_7_the_tilt_falls_with_eps_and_the_elbow_is_inside_the_grid(circle):
    tilts = [quiet(tilt_diagnostics, *circle, eps) for eps in GRID]
    sums = [t["rv_f"] + t["rv_g"] for t in tilts]
    assert sums == sorted(sums, reverse=True)
    assert [t["ess"] for t in tilts] == sorted(t["ess"] for t in tilts)
    chosen = quiet(select_epsilon, *circle, GRID)
    assert chosen in GRID[1:-1]
    assert quiet(select_epsilon, *circle, GRID[::-1]) == chosen


def test_the_source_s_own_relative_variance_need_not_fall(circle):
    """Far modes are seen alike from everywhere near ε = 4; above that the nearest no longer make up for the rest."""
    low, high = (tilt_diagnostics(*circle, eps)["rv_f"] for eps in (4.0, 8.0))
    assert low < high


def test_the_elbow_is_the_point_furthest_below_the_chord(circle):
    sums = [(t := quiet(tilt_diagnostics, *circle, eps))["rv_f"] + t["rv_g"] for eps in GRID[2:]]
    across = torch.linspace(0, 1, len(sums), dtype=torch.float64)
    up = (torch.tensor(sums, dtype=torch.float64) - sums[-1]) / (sums[0] - sums[-1])
    expected = GRID[2:][int((1 - across - up).argmax())]
    assert quiet(select_epsilon, *circle, GRID[2:]) == expected


def test_where_the_grid_begins_moves_the_elbow_but_not_the_bounds(circle):
    with pytest.warns(UserWarning, match="at eps 0.5 the target is tilted.*the source is tilted.*ess 0.0"):
        assert select_epsilon(*circle, GRID) == 0.5
    assert quiet(select_epsilon, *circle, GRID[4:]) > 1
    within = epsilon_within(*circle, GRID)
    assert epsilon_within(*circle, GRID[2:]) == epsilon_within(*circle, GRID[::-1]) == within
    below = quiet(tilt_diagnostics, *circle, GRID[GRID.index(within) - 1])
    own = quiet(tilt_diagnostics, *circle, within)
    assert max(own["rv_f"], own["rv_g"]) <= 0.1
    assert own["ess"] >= 0.3
    assert max(below["rv_f"], below["rv_g"]) > 0.1 or below["ess"] < 0.3


def test_each_bound_binds(circle):
    loose = {"variance": math.inf, "sample": 0.0}
    assert epsilon_within(*circle, GRID, **loose) == GRID[0]
    for bound, sense in (("variance", 0.01), ("sample", 0.9)):
        assert epsilon_within(*circle, GRID, **{**loose, bound: sense}) > 1
    # Each side by itself: bounds that both just keep.
    own = quiet(tilt_diagnostics, *circle, 2.0)
    assert epsilon_within(*circle, [2.0], variance=max(own["rv_f"], own["rv_g"]), sample=own["ess"]) == 2.0
    # The source alone may be tilted: five points that the one target is not alike from.
    assert epsilon_within(Y, X[:1], GRID) > GRID[0]
    assert epsilon_within(X[:1], Y, GRID) > GRID[0]


@pytest.mark.parametrize(
    "bounds",
    [{"variance": -1.0}, {"variance": math.nan}, {"sample": -0.1}, {"sample": 1.5}, {"sample": math.nan}],
    ids=["below", "nan", "less than none", "more than all", "nan of pairs"],
)
def test_bounds_that_nothing_or_all_is_within_are_refused(bounds):
    (name,) = bounds
    with pytest.raises(ValueError, match=rf"{name}: a bound in \[0, (inf|1)\] is expected; it is {bounds[name]:g}"):
        epsilon_within(X, Y, [1.0, 4.0], **bounds)


def test_grids_may_be_arrays_and_tensors(circle):
    for other in (torch.tensor(GRID, dtype=torch.float64), np.array(GRID), iter(GRID)):
        assert epsilon_within(*circle, other) == epsilon_within(*circle, GRID)
    for bad in (2.0, torch.tensor(2.0), None):
        with pytest.raises(
            TypeError, match=f"grid: a sequence of temperatures is expected; it is a {type(bad).__name__}"
        ):
            select_epsilon(*circle, bad)
    with pytest.raises(ValueError, match=r"different finite temperatures .* got \[2.0, 1.0, 2.0\]"):
        select_epsilon(X, Y, iter([2.0, 1.0, 2.0]))


def test_where_nothing_is_tilted_the_smallest_will_do():
    corners = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    assert quiet(select_epsilon, corners, corners, [1.0, 2.0, 4.0]) == 1.0


def test_a_grid_that_ends_too_low_is_refused_by_both(circle):
    with pytest.raises(ValueError, match="no elbow from 0.01 to 0.04.*add larger temperatures"):
        select_epsilon(X, 3 * Y, [0.01, 0.02, 0.04])
    with pytest.raises(ValueError, match="no elbow from 1e-06 to 4e-06"):  # as tilted as can be, and so all alike
        select_epsilon(X, 3 * Y, [1e-6, 2e-6, 4e-6])
    with pytest.raises(ValueError, match=r"none is within the bounds; the largest, 0\.5, has rv_f .*larger"):
        epsilon_within(*circle, [0.25, 0.5])


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([1.0, 2.0], "at least 3"),
        ([1.0, 2.0, 2.0], "different finite"),
        ([1.0, 2.0, math.inf], "different finite"),
        ([0.0, 1.0, 2.0], "eps: must be above 0"),
        ([1.0, math.nan, 2.0], "eps: must be above 0"),
    ],
    ids=["short", "twice", "infinite", "zero", "nan"],
)
def test_a_grid_that_is_none_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        select_epsilon(X, Y, grid)
    with pytest.raises(ValueError, match="at least 1"):
        epsilon_within(X, Y, [])
