"""Which temperature to take: at the elbow of the tilt, as the paper does, or the smallest within bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import check_number
from .costs import Cost, check_eps, cost_matrix
from .tilt import LARGE_VARIANCE, SMALL_SAMPLE, tilt_of, warn_of_tilt

# Relative variances of numbers that are equal but for rounding.
_NOTHING = 1e-12


@torch.no_grad()
def select_epsilon(x: Tensor, y: Tensor, grid: Sequence[float] | Tensor, cost: Cost = "l2") -> float:
    """The temperature at the elbow: the smallest from which on the tilt hardly falls, of a grid.

    Of ``rv_f + rv_g`` against ``log eps``, both scaled to [0, 1], it is the point furthest below the line between the
    ends (the paper's rule, in a concrete form). **It depends on where the grid begins:** the tilt grows exponentially
    as eps falls, and a grid that begins too low has its elbow too low; that is warned of. `epsilon_within` does not.

    Args:
        x: ``[N, *]``, of the source. y: ``[M, *]``, of the target; a few thousand, for it takes O(N M).
        grid: at least three temperatures, in any order, no two the same; geometric, and wide enough that the curve is
            flat at its upper end. In d dimensions κ √d, κ from about 0.05 to 3.

    Returns:
        A number of the grid, never its largest; its smallest only where nothing is tilted.

    Raises:
        ValueError: a grid that is none; no elbow in it, for the tilt falls fastest at its upper end.

    Warns:
        UserWarning: as `tilt_diagnostics`, of the temperature that is chosen.
    """
    ordered = _ordered(grid, 3)
    costs = cost_matrix(x, y, cost)
    tilts = [tilt_of(costs, eps) for eps in ordered]
    chosen = _elbow([math.log(eps) for eps in ordered], [t["rv_f"] + t["rv_g"] for t in tilts])
    if chosen is None:
        raise ValueError(
            f"grid: no elbow from {ordered[0]:g} to {ordered[-1]:g}, where the tilt still falls fastest at the upper "
            "end; add larger temperatures"
        )
    warn_of_tilt(tilts[chosen], ordered[chosen])
    return ordered[chosen]


@torch.no_grad()
def epsilon_within(
    x: Tensor,
    y: Tensor,
    grid: Sequence[float] | Tensor,
    cost: Cost = "l2",
    *,
    variance: float = LARGE_VARIANCE,
    sample: float = SMALL_SAMPLE,
) -> float:
    """The smallest temperature of a grid with ``rv_f, rv_g <= variance`` and ``ess >= sample``.

    Not the paper's. The straightest paths for a tilt that one can bear; adding numbers below it to the grid changes
    nothing.

    Args:
        x, y: as `select_epsilon`. grid: temperatures, no two the same. variance: at least 0. sample: in [0, 1].

    Raises:
        TypeError: bounds or temperatures that are no numbers.
        ValueError: bounds outside of their ranges; a grid that is none; none of it within the bounds, with what its
            largest has.
    """
    for name, bound, most in (("variance", variance, math.inf), ("sample", sample, 1.0)):
        check_number(name, bound)
        if not 0 <= bound <= most:
            raise ValueError(f"{name}: a bound in [0, {most:g}] is expected; it is {bound:g}")
    ordered = _ordered(grid, 1)
    costs = cost_matrix(x, y, cost)
    within: list[float] = []
    for eps in reversed(ordered):
        tilt = tilt_of(costs, eps)
        if max(tilt["rv_f"], tilt["rv_g"]) > variance or tilt["ess"] < sample:
            break
        within.append(eps)
    if not within:
        raise ValueError(
            f"grid: none is within the bounds; the largest, {eps:g}, has rv_f {tilt['rv_f']:.3g}, rv_g "
            f"{tilt['rv_g']:.3g} and ess {tilt['ess']:.3g}; add larger temperatures"
        )
    return within[-1]


def _ordered(grid: Sequence[float] | Tensor, least: int) -> list[float]:
    try:
        given = grid.tolist() if isinstance(grid, Tensor) else list(grid)
    except TypeError:
        given = None
    if not isinstance(given, list):
        raise TypeError(f"grid: a sequence of temperatures is expected; it is a {type(grid).__name__}")
    for eps in given:
        check_eps(eps)
    ordered = sorted(given)
    if len(ordered) < least or len(set(ordered)) < len(ordered) or math.isinf(ordered[-1]):
        raise ValueError(f"grid: different finite temperatures are expected, at least {least}; got {given}")
    return ordered


def _elbow(places: Sequence[float], heights: Sequence[float]) -> int | None:
    """The place furthest below the chord; the first where all is flat, None where nothing lies below."""
    low, high = min(heights), max(heights)
    if high - low <= _NOTHING * max(1.0, high):
        return 0 if high <= _NOTHING else None
    across = [(p - places[0]) / (places[-1] - places[0]) for p in places]
    up = [(h - low) / (high - low) for h in heights]
    below = [up[0] + a * (up[-1] - up[0]) - u for a, u in zip(across, up, strict=True)]
    best = max(range(1, len(below) - 1), key=lambda i: below[i])
    return best if below[best] > 0 else None
