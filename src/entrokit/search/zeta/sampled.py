"""A zero by the cross-entropy method: points of the strip are drawn, those with small |ζ| kept, the sampler refitted.

A demonstration. That samples meet no zero off the line says nothing about whether there is one: zeros are a null set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import check_number
from ..cross_entropy import DiagonalGaussian, Step, cross_entropy_minimize
from .boxes import ZeroOnBoundaryError, count_zeros
from .function import MOST_T, zeta

_SMALL, _AROUND = 1e-8, 1e-3


@dataclass(frozen=True)
class SampledZero:
    """Where a search ended.

    Attributes:
        s: the best point. modulus: |ζ(s)|. zeros_around: that the argument principle counts within 1e-3 of it, None
            where it was not asked. accepted: |ζ| < 1e-8 and one zero around. why: what speaks against it, or nothing.
        history: of the search, by iteration.
    """

    s: complex
    modulus: float
    zeros_around: int | None
    why: str
    history: tuple[Step, ...] = field(repr=False)

    @property
    def accepted(self) -> bool:
        return not self.why


def search_zero(
    t0: float,
    t1: float,
    *,
    generator: torch.Generator,
    n: int = 400,
    elite: float = 0.1,
    smoothing: float = 0.7,
    start: tuple[float, float] = (0.7, 0.3),
    max_iter: int = 200,
) -> SampledZero:
    """One zero of ζ in 0 ≤ σ ≤ 1, t0 ≤ t ≤ t1, where there is one; of several, whichever the samples fall to.

    The sampler is Gaussian in (σ, t), in the middle of the window. The search ends somewhere whatever the window holds,
    at worst in a corner: ``accepted`` says whether that is a zero.

    Args:
        n, elite, smoothing, max_iter: of `cross_entropy_minimize`. start: mean and standard deviation of σ.

    Raises:
        TypeError: no numbers, or no generator. ValueError: not 0 ≤ t0 < t1 ≤ 10,000, or what `cross_entropy_minimize`
            refuses.
    """
    t0, t1 = check_number("t0", t0), check_number("t1", t1)
    if not 0.0 <= t0 < t1 <= MOST_T:
        raise ValueError(f"search_zero: needs 0 <= t0 < t1 <= {MOST_T:g}, got {t0} and {t1}")
    try:
        mean, width = start
    except (TypeError, ValueError):
        raise TypeError(f"search_zero: start is (mean, standard deviation) of sigma, got {start!r}") from None
    found = cross_entropy_minimize(
        _modulus,
        DiagonalGaussian([mean, 0.5 * (t0 + t1)], [width, 0.25 * (t1 - t0)]),
        generator=generator,
        n=n,
        elite=elite,
        smoothing=smoothing,
        bounds=[(0.0, 1.0), (t0, t1)],
        max_iter=max_iter,
    )
    sigma, t = found.x.tolist()
    around, why = None, ""
    if found.fun >= _SMALL:
        why = f"|zeta| = {found.fun:.6g} is no zero: the window has none, or the search ended beside it"
    else:
        try:
            around = count_zeros((max(0.0, sigma - _AROUND), sigma + _AROUND), (t - _AROUND, t + _AROUND))
            why = "" if around == 1 else f"{around} zeros around it"
        except ZeroOnBoundaryError as error:
            why = str(error)
    return SampledZero(complex(sigma, t), found.fun, around, why, found.history)


def _modulus(x: Tensor) -> Tensor:
    """|ζ| at (σ, t) ``[n, 2]``; the pole is far from every zero."""
    s = torch.complex(x[:, 0], x[:, 1])
    pole = s == 1
    return torch.where(pole, torch.inf, zeta(torch.where(pole, 2.0, s)).abs())
