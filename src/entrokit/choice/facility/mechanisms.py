"""Rules that put one facility on a line: Moulin's phantom medians, and the two rules that everybody thinks of first.

Strategyproof and Proportionally Fair Facility Location (arXiv 2111.01566); phantoms are Moulin's (1980). Every rule
takes reports ``[..., n]`` in ``[lo, hi]`` and gives an outcome each, ``[...]``. A phantom median is differentiable but
where reports tie: its gradient is 1 at the one report that it is, and 0 everywhere where it is a phantom.

``mask [..., n]``, True where there is a report, is for batches of profiles of different lengths. Common to all:

Raises:
    ReportError: a report that is NaN or outside of the interval, a profile without reports. ValueError: no interval.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from .reports import Profiles, ReportsLike, as_reports, check_inside, profiles, whole_number

Mask = Tensor | NDArray[Any] | None


def uniform_phantom(x: ReportsLike, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None) -> Tensor:
    """The median of n reports and the points 1/n, ..., (n-1)/n of the interval.

    No agent gains by misreporting, and m agents who agree on a place have it within a share 1 - m/n of the interval; no
    other rule has both (2111.01566, abstract). It is worked out as ``max_i min(x_(i), (n-i+1)/n)``, where the share of
    reports at or above a place falls below the place.
    """
    given = profiles(x, lo, hi, dim, mask)
    ordered = given.ascending()
    above = given.count - torch.arange(given.size, device=ordered.device, dtype=ordered.dtype)
    least = given.place(above / given.count)
    # Where both are the same, the report has the gradient.
    return torch.where(ordered <= least, ordered, least).max(-1).values


def phantom_median(
    x: ReportsLike,
    phantoms: ReportsLike | None = None,
    lo: float = 0.0,
    hi: float = 1.0,
    dim: int = -1,
    mask: Mask = None,
) -> Tensor:
    """The median of n reports and n - 1 phantoms: all rules that are anonymous, unanimous and strategyproof (Moulin).

    Args:
        phantoms: ``[..., n-1]``, in ``[lo, hi]`` and in any order; None for uniform ones. With n + 1 of them the rule
            need not be unanimous. Under a mask a profile of m reports takes the first m - 1 (or m + 1).

    Raises:
        ReportError: phantoms outside of the interval too. ValueError: another number of phantoms.
    """
    given = profiles(x, lo, hi, dim, mask)
    fixed = _uniform(given) if phantoms is None else _phantoms(phantoms, given)
    # Lost reports lie below and lost phantoms above all others, as many of each: the rank stays that of full rows.
    both = torch.cat([given.filled(-math.inf), fixed], -1)
    return both.kthvalue((both.shape[-1] + 1) // 2, -1).values


def order_statistic(
    x: ReportsLike, k: int, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None
) -> Tensor:
    """The k-th smallest report, k from 1: n - k phantoms at ``lo`` and k - 1 at ``hi``.

    Raises:
        TypeError: a k that is not whole. ValueError: a k that a profile has not.
    """
    given = profiles(x, lo, hi, dim, mask)
    k = whole_number(k, "order_statistic: k")
    fewest = int(given.count.min()) if given.reports.numel() else given.size
    if k > fewest:
        raise ValueError(f"order_statistic: k is 1 to {fewest}, the fewest reports of a profile; got {k}")
    return given.ascending()[..., k - 1]


def median(x: ReportsLike, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None) -> Tensor:
    """The median; of an even number the left of the middle two, as `torch.median` has it. Costs least in total."""
    given = profiles(x, lo, hi, dim, mask)
    middle = ((given.count + 1) // 2 - 1).long().expand(*given.reports.shape[:-1], 1)
    return given.ascending().gather(-1, middle).squeeze(-1)


def constrained_median(x: ReportsLike, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None) -> Tensor:
    """The median with phantoms at 1/n and 1 - 1/n, floor((n-1)/2) of them at the left one.

    Nobody is farther from it than 1 - 1/n of the interval (IFS), and of all such rules it has the best welfare in the
    worst case. The name is ours.
    """
    given = profiles(x, lo, hi, dim, mask)
    at = torch.arange(1, given.size, device=given.reports.device)
    edge = torch.where(at <= (given.count - 1) // 2, 1.0, given.count - 1.0) / given.count
    fixed = _behind(given.place(edge), given, at.numel(), 1)
    both = torch.cat([given.filled(-math.inf), fixed], -1)
    return both.kthvalue(given.size, -1).values


def average(x: ReportsLike, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None) -> Tensor:
    """The mean. As fair as the uniform phantom to groups, and nearly everybody gains by exaggerating."""
    given = profiles(x, lo, hi, dim, mask)
    # Rounding may carry the mean of equal reports over the end of the interval.
    return (given.filled(0.0).sum(-1) / given.count.squeeze(-1)).clamp(lo, hi)


def midpoint(x: ReportsLike, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None) -> Tensor:
    """Half way between the smallest and the largest report: the least largest distance, and easily gamed."""
    given = profiles(x, lo, hi, dim, mask)
    return (given.filled(math.inf).amin(-1) + given.filled(-math.inf).amax(-1)) / 2


def _uniform(given: Profiles) -> Tensor:
    at = torch.arange(1, given.size, device=given.reports.device, dtype=given.reports.dtype)
    return _behind(given.place(at / given.count), given, at.numel(), 1)


def _phantoms(phantoms: ReportsLike, given: Profiles) -> Tensor:
    fixed = as_reports(phantoms).to(given.reports)
    length = fixed.shape[-1] if fixed.ndim else 1
    if length not in (given.size - 1, given.size + 1):
        raise ValueError(
            f"phantom_median: {given.size} reports need {given.size - 1} phantoms (or {given.size + 1}, if the rule "
            f"need not be unanimous), got {length}"
        )
    check_inside(fixed, given.lo, given.hi, "phantom")
    return _behind(fixed, given, length, given.size - length)


def _behind(fixed: Tensor, given: Profiles, length: int, fewer: int) -> Tensor:
    """Phantoms ``[..., length]``, with infinity for those that a profile of fewer reports has not."""
    if given.present is not None:
        at = torch.arange(1, length + 1, device=fixed.device)
        fixed = fixed.masked_fill(at > given.count - fewer, math.inf)
    return fixed.expand(*given.reports.shape[:-1], length)
