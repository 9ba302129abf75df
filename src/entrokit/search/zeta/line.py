"""On the critical line: Riemann-Siegel's theta, Hardy's Z, and its zeros.

    θ(t) = Im ln Γ(1/4 + it/2) - (t/2) ln π,   Z(t) = e^(iθ(t)) ζ(1/2 + it), which is real

A change of sign of Z is a zero on the line. N(T), the number of zeros with 0 < Im ≤ T, is θ(T)/π + 1 + S(T).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..checks import check_number, double_points
from .boxes import count_zeros
from .function import zeta

# Bernoulli numbers B_2k / (2k (2k - 1)); with |z| > 10 the first that is left out is below 1e-17.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_SHIFT = 10
_HALVINGS = 6
MOST_THETA = 1e150
"""|t| up to which θ is computed: its series takes squares of t."""

# Grid points before any halving; memory of a gigabyte or two at the last.
_POINTS = 1_000_000

# Below 14.13 there is no zero; a contour from 0 would run along the real axis, past the pole.
_BELOW_ALL = 1.0


class MissedZerosError(RuntimeError):
    """Changes of sign and the argument principle disagree."""


def riemann_siegel_theta(t: Any) -> Tensor:
    """θ(t), float64, of the shape of ``t``. Odd in t.

    It is right to about 15 digits, and they begin so far left that at t = 1e14 it is off by 0.2.

    Raises:
        TypeError: single precision. ValueError: NaN, infinity, or |t| above 1e150.
    """
    t = _real(t)
    if bool((t.abs() > MOST_THETA).any()):
        worst = float(t[t.abs() > MOST_THETA][0])
        raise ValueError(f"riemann_siegel_theta: t = {worst:g} is above {MOST_THETA:g} in size")
    z = torch.complex(torch.full_like(t, 0.25 + _SHIFT), 0.5 * t)
    series = (z - 0.5) * z.log() - z
    power = 1.0 / z
    for coefficient in _STIRLING:
        series = series + coefficient * power
        power = power / (z * z)
    # Γ(z + m) = Γ(z) z (z + 1) … (z + m - 1); the arguments are added one by one, so that no turn is lost.
    turned = sum((torch.atan2(0.5 * t, torch.full_like(t, 0.25 + j)) for j in range(_SHIFT)), torch.zeros_like(t))
    angle: Tensor = series.imag - turned - 0.5 * t * math.log(math.pi)
    return angle


def hardy_z(t: Any) -> Tensor:
    """Z(t), float64, of the shape of ``t``. Even in t; |Z(t)| = |ζ(1/2 + it)|.

    Raises:
        ValueError: NaN, infinity, or |t| above 10,000.
    """
    t = _real(t)
    rotated = zeta(torch.complex(torch.full_like(t, 0.5), t)) * torch.polar(torch.ones_like(t), riemann_siegel_theta(t))
    return rotated.real


def smooth_count(t: Any) -> Tensor:
    """θ(t)/π + 1, which N(t) is near: within 1 for t < 280, and it is not to be rounded. |t| as far as 1e150."""
    return riemann_siegel_theta(t) / math.pi + 1.0


def find_critical_zeros(t0: float, t1: float, step: float = 0.05) -> Tensor:
    """Zeros of Z in (t0, t1), 0 ≤ t0, float64 ``[K]`` in ascending order, and no other zero of ζ in 0 ≤ σ ≤ 1 between.

    Changes of sign on a grid of ``step`` are narrowed to the last place by bisection. As many as the argument principle
    counts there must be found; where there are fewer, the grid is halved, at most six times.

    Raises:
        MissedZerosError: still fewer: two zeros closer than the grid, a double one, or one off the line.
        ZeroOnBoundaryError: t0 or t1 is one.
        TypeError: no numbers. ValueError: not 0 ≤ t0 < t1 ≤ 10,000, or a step that is not above 0 or makes more than
            a million points.
    """
    t0, t1, step = check_number("t0", t0), check_number("t1", t1), check_number("step", step)
    if not 0.0 <= t0 < t1:
        raise ValueError(f"find_critical_zeros: needs 0 <= t0 < t1, got {t0} and {t1}")
    if not step > 0.0 or (t1 - t0) / step > _POINTS:
        raise ValueError(
            f"find_critical_zeros: step must be above 0, and ({t0:g}, {t1:g}) at most {_POINTS:,} of them long; got "
            f"{step:g}"
        )
    if t1 <= _BELOW_ALL:
        return torch.empty(0, dtype=torch.float64)
    t0 = max(t0, _BELOW_ALL)
    counted = count_zeros((0.0, 1.0), (t0, t1))
    for halving in range(_HALVINGS + 1):
        low, high = _brackets(t0, t1, step / 2**halving)
        if len(low) == counted:
            return _bisected(low, high)
    raise MissedZerosError(
        f"Z changes its sign {len(low)} times in ({t0:g}, {t1:g}) on a grid of {step / 2**_HALVINGS:g}, and the "
        f"argument principle counts {counted} zeros: give a smaller step"
    )


def _brackets(t0: float, t1: float, step: float) -> tuple[Tensor, Tensor]:
    grid = torch.linspace(t0, t1, math.ceil((t1 - t0) / step - 1e-9) + 1, dtype=torch.float64)
    # An exact 0 counts as positive, so that it is crossed once.
    positive = hardy_z(grid) >= 0
    turn = (positive[1:] != positive[:-1]).nonzero()[:, 0]
    return grid[turn], grid[turn + 1]


def _bisected(low: Tensor, high: Tensor) -> Tensor:
    if not len(low):
        return low
    rising = hardy_z(low) < 0
    while True:
        middle = 0.5 * (low + high)
        if not bool(((middle > low) & (middle < high)).any()):
            return middle
        below = (hardy_z(middle) < 0) == rising
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)


def _real(t: Any) -> Tensor:
    points = double_points("t", t, torch.float64)
    if not bool(points.isfinite().all()):
        raise ValueError(f"t is NaN or infinite: {float(points[~points.isfinite()][0])}")
    return points
