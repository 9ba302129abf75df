"""ζ(s) for Re s ≥ 0 by Borwein's alternating series.

    ζ(s) ≈ (1 - 2^(1-s))^-1 Σ_{k<n} (-1)^k (1 - d_k / d_n) (k + 1)^-s
    d_k = n Σ_{i≤k} (n + i - 1)! 4^i / ((n - i)! (2 i)!)

is off by about (3 + √8)^-n e^(π|t|/2) (Borwein, An efficient algorithm for the Riemann zeta function, 2000). The
coefficients are ratios of whole numbers and are made of them, so that they are right to the last place.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..checks import check_count, check_number, double_points

MOST_T = 10_000.0
"""|Im s| up to which there is a length of the series; far beyond, the Riemann-Siegel formula is the right one."""

_RATE = math.log(3.0 + math.sqrt(8.0))
# e^-36 is the rounding of 1, and ten more terms are for the factor before the bound.
_DIGITS, _SPARE = 36.0, 10
# The coefficients' whole numbers grow with n, and their making with its square.
_MOST_TERMS = 20_000
_POINTS_TIMES_TERMS = 4_000_000
_LOG_2 = math.log(2.0)
# Where 1 - 2^(1-s) is below this, three digits would be lost to it.
_NEAR, _RADIUS, _ON_CIRCLE = 1e-2, 0.25, 24


def series_length(t: float) -> int:
    """Terms that ζ(σ + it) takes for its truncation to be below the rounding of 1.

    Raises:
        TypeError: no number. ValueError: NaN or infinity.
    """
    return math.ceil((0.5 * math.pi * abs(check_number("t", t)) + _DIGITS) / _RATE) + _SPARE


def zeta(s: Any, n: int | None = None) -> Tensor:
    """ζ(s), complex128, of the shape of ``s``.

    Against mpmath on 0 ≤ σ ≤ 1 it was within 1e-12 of max(1, |ζ|) up to |t| = 1,000
    (docs/search/cross-entropy-riemann.md).

    Args:
        s: complex numbers with Re s ≥ 0 and |Im s| ≤ 10,000, any shape. n: terms; chosen by the largest |Im s|.

    Raises:
        TypeError: no numbers; float32 or complex64, whose rounding leaves nothing at |t| > 20.
        ValueError: the pole s = 1, Re s < 0, NaN, a larger |Im s|, or an ``n`` too small for it.
    """
    points = _points(s)
    flat = points.reshape(-1)
    largest = float(flat.detach().imag.abs().max()) if len(flat) else 0.0
    needed = series_length(largest)
    if n is not None:
        check_count("n", n)
        if not needed <= n <= _MOST_TERMS:
            raise ValueError(
                f"zeta: |Im s| = {largest:g} takes {needed} terms at least, and there are never more than "
                f"{_MOST_TERMS}; got {n}: leave n out"
            )
    values = _series(flat, n or needed)
    # 1 - 2^(1-s) is 0 at 1 + 2πik/ln 2 too, where ζ is not; a mean over a circle is the value in its middle.
    doubtful = (_factor(flat).abs() < _NEAR) & (flat.imag.abs() > 1.0)
    if bool(doubtful.any()):
        angles = torch.arange(_ON_CIRCLE, dtype=torch.float64, device=flat.device) * (2.0 * math.pi / _ON_CIRCLE)
        circle = flat[doubtful][:, None] + torch.polar(torch.full_like(angles, _RADIUS), angles)
        around = _series(circle.reshape(-1), series_length(largest + 1.0)).reshape(circle.shape)
        values[doubtful] = around.mean(1)
    return values.reshape(points.shape)


def _points(s: Any) -> Tensor:
    points = double_points("zeta", s, torch.complex128)
    for wrong, what in (
        (~(points.real.isfinite() & points.imag.isfinite()), "is NaN or infinite"),
        (points.real < 0, "has Re s < 0: reflect it by the functional equation"),
        (points.imag.abs() > MOST_T, f"has |Im s| above {MOST_T:g}: the Riemann-Siegel formula is for there"),
        (points == 1, "is the pole s = 1"),
    ):
        if bool(wrong.any()):
            raise ValueError(f"zeta: s = {complex(points[wrong][0])} {what}")
    return points


def _series(s: Tensor, n: int) -> Tensor:
    """Points ``[P]``, in chunks of bounded memory."""
    signed = torch.tensor(_coefficients(n), dtype=torch.float64, device=s.device)
    high, low = (torch.tensor(part, dtype=torch.float64, device=s.device) for part in _log_turns(n))
    logs = torch.arange(1, n + 1, dtype=torch.float64, device=s.device).log()
    sums = [
        (torch.polar(torch.exp(-part.real[:, None] * logs) * signed.abs(), _angle(part.imag, high, low))
         * signed.sign()).sum(1)
        for part in torch.split(s, max(1, _POINTS_TIMES_TERMS // n))
    ]  # fmt: skip
    return (torch.cat(sums) if sums else s.clone()) / _factor(s)


def _factor(s: Tensor) -> Tensor:
    """1 - 2^(1-s), without cancellation near s = 1."""
    return -torch.expm1((1.0 - s) * _LOG_2)


def _angle(t: Tensor, high: Tensor, low: Tensor) -> Tensor:
    """-t ln k within a turn, ``[P, n]``: the product t · ln k / 2π to twice double precision, without its whole turns.

    In plain doubles the angle would be off by the rounding of t ln k, which is 1e-12 at t = 1,000.
    """
    product = t[:, None] * high
    error = _product_error(t[:, None], high, product)
    turns = (product - product.round()) + (error + t[:, None] * low)
    return -2.0 * math.pi * turns


def _product_error(a: Tensor, b: Tensor, product: Tensor) -> Tensor:
    """What rounding took from a · b (Dekker 1971)."""
    a_high, b_high = _upper_half(a), _upper_half(b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _upper_half(a: Tensor) -> Tensor:
    scaled = a * 134217729.0  # 2^27 + 1
    return scaled - (scaled - a)


@lru_cache(maxsize=32)
def _coefficients(n: int) -> tuple[float, ...]:
    """(-1)^k (1 - d_k / d_n) for k < n."""
    term, total, sums = 1, 0, []
    for i in range(n + 1):
        total += term
        sums.append(total)
        term = term * 4 * (n + i) * (n - i) // ((2 * i + 1) * (2 * i + 2))
    return tuple((-1) ** k * ((total - sums[k]) / total) for k in range(n))


@lru_cache(maxsize=32)
def _log_turns(n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ln k / 2π for k = 1 … n as a sum of two doubles."""
    with localcontext() as context:
        context.prec = 40
        turn = Decimal("6.283185307179586476925286766559005768394338798750")
        exact = [Decimal(k).ln() / turn for k in range(1, n + 1)]
        high = tuple(float(x) for x in exact)
        return high, tuple(float(x - Decimal(h)) for x, h in zip(exact, high, strict=True))
