"""The solver of saddle points: what does not settle, fits no grid or has no meaning raises."""

import math
import pickle

import pytest

from entrokit.dynamics.franz_parisi import (
    SaddlePointError,
    energy,
    saddle,
    solve_first_task,
)
from entrokit.dynamics.franz_parisi.quadrature import field_grid, gaussian_grid


def test_iterations_that_do_not_settle_raise(monkeypatch):
    monkeypatch.setattr(saddle, "MAX_ITERATIONS", 3)
    with pytest.raises(SaddlePointError, match="after 3 iterations q, r and Q still change by") as error:
        solve_first_task(0.8, 20.0)
    assert 1e-7 < error.value.residual < 1.0


def test_a_grid_that_is_too_coarse_is_refined_or_refused(monkeypatch):
    moving = {21: 0.3, 32: 0.301, 48: 0.3}

    calls = []

    def equations(overlaps, nodes):
        calls.append(nodes)
        return saddle.Image(saddle.Overlaps(moving[nodes], 0.1, 0.5), saddle.Conjugates(1, 1, 1), 0.0, 0.1, None)

    how = {"alpha": 1.0, "beta": 1.0, "nodes": 21, "what": "made up"}
    start = [saddle.Overlaps(0.0, 0.0, 0.3)]
    moving[72] = 0.3
    found = saddle.solve_saddle(equations, start, **how)
    assert (found.q, found.nodes) == (0.3, 48)
    # One look at the finer grid, for each of three, is no iteration.
    assert found.iterations == len(calls) - 3
    moving[72] = 0.31
    with pytest.raises(
        SaddlePointError, match=r"on a grid of 48 nodes, .* miss their equations by 1.0e-02 on one of 72"
    ):
        saddle.solve_saddle(equations, start, **how)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ((0.6, 0.1, 0.5), r"miss r² <= q <= Q < 1 by 1.0e-01"),
        ((0.2, 0.5, 0.5), r"miss r² <= q <= Q < 1 by 5.0e-02"),
        ((0.2, 0.1, 1.0), r"miss r² <= q <= Q < 1"),
        ((math.nan, 0.1, 0.5), r"gives q, r, Q = \(nan, 0.1, 0.5\)"),
    ],
)
def test_overlaps_that_none_can_have_raise(image, message):
    def equations(overlaps, nodes):
        return saddle.Image(saddle.Overlaps(*image), saddle.Conjugates(1, 1, 1), 0.0, 0.1, None)

    with pytest.raises(SaddlePointError, match=message):
        saddle.solve_saddle(equations, [saddle.Overlaps(0, 0, 0.3)], alpha=1, beta=1, nodes=21, what="made up")


def test_the_larger_free_entropy_is_kept_and_a_start_that_fails_does_not_matter():
    def equations(overlaps, nodes):
        if overlaps.q > 0.8:
            return saddle.Image(saddle.Overlaps(math.nan, 0, 0), saddle.Conjugates(1, 1, 1), 9.0, 0.1, None)
        near = min((0.1, 0.5), key=lambda q: abs(q - overlaps.q))
        return saddle.Image(saddle.Overlaps(near, 0.1, 0.6), saddle.Conjugates(1, 1, 1), -near, 0.1, None)

    starts = [saddle.Overlaps(q, 0.1, 0.9) for q in (0.55, 0.05, 0.9)]
    found = saddle.solve_saddle(equations, starts, alpha=1, beta=1, nodes=21, what="made up")
    assert (found.q, found.phi) == (0.1, -0.1)


def test_iterations_that_swing_are_damped():
    def equations(overlaps, nodes):
        # Slope -3: the map throws q ever further; a mixture with less than a half of it does not.
        return saddle.Image(
            saddle.Overlaps(0.4 - 3 * (overlaps.q - 0.4), 0.1, 0.5), saddle.Conjugates(1, 1, 1), 0, 0, None
        )

    found, _ = saddle.iterate(equations, saddle.Overlaps(0.4001, 0.1, 0.5), 21, "made up")
    assert found.q == pytest.approx(0.4, abs=1e-6)


def test_an_error_comes_out_of_another_process():
    error = pickle.loads(pickle.dumps(SaddlePointError("misses by 0.1", 0.1)))
    assert (str(error), error.residual) == ("misses by 0.1", 0.1)


def test_overlaps_that_run_to_their_bounds_raise_before_grids_fill_the_memory(monkeypatch):
    """Far above the first-order transition every iteration takes a grid three times as fine."""
    monkeypatch.setattr(energy, "MOST_TOGETHER", 2**16)
    with pytest.raises(SaddlePointError, match=r"needs \d+ nodes, of 65536 at most: order parameters run"):
        solve_first_task(5.0, 20.0)
    for grid, message in ((lambda: gaussian_grid(41, 1e-9), "of 1048576"), (lambda: field_grid(5000), "of 4096")):
        with pytest.raises(SaddlePointError, match=message):
            grid()
    with pytest.raises(SaddlePointError, match="needs 41"):
        gaussian_grid(41, 0.0)


def test_of_several_starts_that_fail_the_nearest_is_told_of():
    def equations(overlaps, nodes):
        image = (math.nan, 0.1, 0.5) if overlaps.q > 0.8 else (0.6, 0.1, 0.5)
        return saddle.Image(saddle.Overlaps(*image), saddle.Conjugates(1, 1, 1), 0.0, 0.1, None)

    starts = [saddle.Overlaps(0.9, 0.1, 0.9), saddle.Overlaps(0.1, 0.1, 0.9)]
    with pytest.raises(SaddlePointError, match="miss r² <= q <= Q < 1 by 1.0e-01"):
        saddle.solve_saddle(equations, starts, alpha=1, beta=1, nodes=21, what="made up")


def test_a_sign_that_rounding_takes_beyond_1_is_no_error():
    def equations(overlaps, nodes):
        return saddle.Image(saddle.Overlaps(0.3, 0.1, 0.5), saddle.Conjugates(1, 1, 1), 0.0, 1 + 1e-15, -1 - 1e-15)

    found = saddle.solve_saddle(equations, [saddle.Overlaps(0, 0, 0.3)], alpha=1, beta=1, nodes=21, what="made up")
    assert (found.e1, found.e2) == (0.0, 1.0)
