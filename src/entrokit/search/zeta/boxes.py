"""Zeros in a rectangle, by the argument principle.

    zeros - poles = (1/2π) Σ_j arg(ζ(s_{j+1}) / ζ(s_j))

along the boundary, counter-clockwise, in steps so small that ζ changes by less than half of its size. Where σ > 1 the
Euler product converges and ζ has no zero, so that a rectangle is cut off at σ = 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import check_pair
from .function import MOST_T, zeta

# Past two zeros in one step ζ would go once around 0 and be back. Up to 10,000 the closest are 0.0377 apart (Lehmer's
# pair at 7005.06 and 7005.10).
_FIRST_STEP, _LEAST_STEP = 0.025, 1e-7
_NO_ZERO_BEYOND = 2.0


class ZeroOnBoundaryError(ValueError):
    """A zero or the pole lies on the boundary, where counting has no answer."""


def count_zeros(sigma: tuple[float, float], t: tuple[float, float]) -> int:
    """Zeros of ζ with σ0 < Re s < σ1 and t0 < Im s < t1, each as often as it is one.

    Args:
        sigma: (σ0, σ1), 0 ≤ σ0 < σ1, as far right as one likes. t: (t0, t1), within ±10,000.

    Raises:
        ZeroOnBoundaryError: a zero, or the pole s = 1, within 1e-7 of the boundary; says where.
        TypeError: no pairs of numbers.
        ValueError: an empty, reversed or infinite rectangle, or one beyond where `zeta` is computed.
    """
    (left, right), (low, high) = check_pair("sigma", sigma), check_pair("t", t)
    if left < 0.0 or max(-low, high) > MOST_T:
        raise ValueError(f"count_zeros: needs sigma from 0 on and t within ±{MOST_T:g}, got {sigma} and {t}")
    inside = left < 1.0 < right and low < 0.0 < high
    if _holds_pole(left, right, low, high, _LEAST_STEP) and not _holds_pole(left, right, low, high, -_LEAST_STEP):
        raise ZeroOnBoundaryError(
            f"the pole s = 1 lies on the boundary of sigma {sigma}, t {t}, or within {_LEAST_STEP:g} of it: "
            "move that side"
        )
    if left >= _NO_ZERO_BEYOND:
        return 0
    right = min(right, _NO_ZERO_BEYOND)
    corners = [complex(left, low), complex(right, low), complex(right, high), complex(left, high)]
    points = torch.cat([_side(a, b) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)])
    values = zeta(points)
    while True:
        after, next_values = points.roll(-1), values.roll(-1)
        coarse = (next_values - values).abs() >= 0.5 * torch.minimum(values.abs(), next_values.abs())
        if not bool(coarse.any()):
            break
        if bool(((after - points).abs()[coarse] < _LEAST_STEP).any()):
            where = complex(points[values.abs().argmin()])
            raise ZeroOnBoundaryError(
                f"zeta is 0 on the boundary of sigma {sigma}, t {t}, or within {_LEAST_STEP:g} of it, near {where:.6f}"
                ": move that side"
            )
        middle = 0.5 * (points + after)[coarse]
        at = coarse.nonzero()[:, 0]
        order = torch.cat([torch.arange(len(points), dtype=torch.float64), at + 0.5]).argsort()
        points, values = torch.cat([points, middle])[order], torch.cat([values, zeta(middle)])[order]
    turned = float((next_values / values).angle().sum()) / (2.0 * math.pi)
    if abs(turned - round(turned)) > 1e-6:
        raise RuntimeError(f"count_zeros: the boundary of sigma {sigma}, t {t} gave {turned} turns, no whole number")
    return round(turned) + inside


def _holds_pole(left: float, right: float, low: float, high: float, margin: float) -> bool:
    """Whether s = 1 lies in the rectangle, wider by ``margin`` on all sides."""
    return left - margin <= 1.0 <= right + margin and low - margin <= 0.0 <= high + margin


def _side(a: complex, b: complex) -> Tensor:
    """From a up to, and without, b."""
    count = max(8, math.ceil(abs(b - a) / _FIRST_STEP))
    share = torch.arange(count, dtype=torch.float64) / count
    return a + (b - a) * share.to(torch.complex128)
