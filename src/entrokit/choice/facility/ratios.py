"""What a rule costs beside the best place: welfare and cost, and how bad fair rules must be in the worst case.

Utility of an agent is 1 minus its distance in shares of the interval, welfare the sum of utilities, cost that of
distances; both are best at a median. Approximation ratios are of 2111.01566; its abstract names them, their values are
reconstructed and were checked by exhaustion for up to eight agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Literal

import torch
from torch import Tensor

from .mechanisms import Mask, median
from .reports import Profiles, ReportsLike, outcomes, profiles, whole_number


def total_cost(
    x: ReportsLike, y: ReportsLike | float, *, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None
) -> Tensor:
    """Sum of distances of reports ``[..., n]`` to outcomes ``[...]``, in shares of the interval.

    Raises:
        ReportError: reports or outcomes that are NaN or outside of the interval. ValueError: shapes that do not fit.
    """
    given = profiles(x, lo, hi, dim, mask)
    return _cost(given, outcomes(y, given))


def welfare(
    x: ReportsLike, y: ReportsLike | float, *, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None
) -> Tensor:
    """Sum of utilities; as `total_cost`."""
    given = profiles(x, lo, hi, dim, mask)
    return given.count.squeeze(-1) - _cost(given, outcomes(y, given))


def welfare_ratio(
    x: ReportsLike, y: ReportsLike | float, *, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None
) -> Tensor:
    """Best welfare over that of the outcome, ``[...]``: 1 at a median, infinite where everybody is at the other end."""
    given, cost, least = _costs(x, y, lo, hi, dim, mask)
    count = given.count.squeeze(-1)
    return (count - least) / (count - cost)


def cost_ratio(
    x: ReportsLike, y: ReportsLike | float, *, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None
) -> Tensor:
    """Cost of the outcome over the least, ``[...]``; 1 where both are 0, infinite where only the least is."""
    _, cost, least = _costs(x, y, lo, hi, dim, mask)
    return torch.where(cost == least, torch.ones_like(cost), cost / least)


def best_welfare_ratio(n: int, axiom: Literal["ifs", "ufs"]) -> Fraction:
    """The smallest worst-case welfare ratio of any rule with an axiom, exactly.

    For ``ifs`` it is 1 + (n-2)/(n²-2n+2), which the constrained median has; for ``ufs`` max n(n-k)/(k²+(n-k)²) over k
    up to n/2, which the uniform phantom has. The latter is also that of proportional fairness and, among strategyproof
    rules, of proportionality; it stays below (√2+1)/2.

    Raises:
        ValueError: fewer than one agent, another axiom. TypeError: agents that are no whole number.
    """
    n = whole_number(n, "best_welfare_ratio: n")
    if axiom == "ifs":
        return 1 + Fraction(max(n - 2, 0), n * n - 2 * n + 2)
    if axiom == "ufs":
        return max(Fraction(n * (n - k), k * k + (n - k) ** 2) for k in range(n // 2 + 1))
    raise ValueError(f"best_welfare_ratio: an axiom is 'ifs' or 'ufs', got {axiom!r}")


def worst_cost_ratio(n: int) -> int:
    """n - 1: the cost ratio of the uniform phantom in the worst case, that of n - 1 agents at 0 and one at 1/n.

    It is that of every phantom median with IFS. Profiles of ends alone show 2 - 2/n at most.

    Raises:
        ValueError: fewer than one agent. TypeError: agents that are no whole number.
    """
    return max(whole_number(n, "worst_cost_ratio: n") - 1, 1)


def grid_profiles(points: Sequence[float], n: int) -> Tensor:
    """All profiles of n reports out of ``points``, but for the agents' order: ``[M, n]`` in float64, each in order.

    Raises:
        ValueError: no points, fewer than one agent. TypeError: agents that are no whole number.
    """
    n = whole_number(n, "grid_profiles: n")
    if len(points) == 0:
        raise ValueError("grid_profiles: no points")
    return torch.tensor(list(combinations_with_replacement(sorted(points), n)), dtype=torch.float64)


def _costs(
    x: ReportsLike, y: ReportsLike | float, lo: float, hi: float, dim: int, mask: Mask
) -> tuple[Profiles, Tensor, Tensor]:
    given = profiles(x, lo, hi, dim, mask)
    best = median(given.reports, lo, hi, mask=given.present)
    return given, _cost(given, outcomes(y, given)), _cost(given, best)


def _cost(given: Profiles, outcome: Tensor) -> Tensor:
    # In the reports' dtype and before the sum, so that from end to end it is 1 exactly.
    lo, hi = (torch.tensor(end, dtype=given.reports.dtype, device=given.reports.device) for end in (given.lo, given.hi))
    distance = (given.reports - outcome[..., None]).abs() / (hi - lo)
    if given.present is not None:
        distance = distance.masked_fill(~given.present, 0.0)
    return distance.sum(-1)
