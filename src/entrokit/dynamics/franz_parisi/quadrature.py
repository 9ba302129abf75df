"""Nodes and weights, float64, for the integrals of the mean-field theory."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .saddle import SaddlePointError

# Nodes of a grid, of two of them together, and of the rule for one weight's mean, which is found in cubed time.
MOST = 2**20
MOST_TOGETHER = 2**24
MOST_PER_MEAN = 2**12
# Beyond nine deviations lies 2e-19 of a Gaussian.
REACH = 9.0
# Beyond this field lie means within 1.4e-12 of ±1.
FARTHEST = 14.0


def gaussian_grid(nodes: int, width: float = 1.0) -> tuple[Tensor, Tensor]:
    """Equally spaced z ``[n]`` and weights ``[n]`` of Dz that add up to 1.

    For smooth integrands the trapezoid rule converges exponentially, as Gauss-Hermite does, and its spacing can follow
    the narrowest feature of the integrand.

    Args:
        nodes: n where the integrand bends as slowly as the Gaussian. width: its narrowest feature, where that is
            below 1; n grows in proportion.

    Raises:
        SaddlePointError: n above `MOST`.
    """
    count = math.ceil(nodes / max(min(1.0, width), 1e-12))
    check_size(count, MOST)
    z = torch.linspace(-REACH, REACH, count, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z)
    return z, weight / weight.sum()


@cache
def field_grid(nodes: int) -> tuple[Tensor, Tensor]:
    """Fields t = artanh m of means m in (-1, 1), ``[n]`` with n even, and weights ``[n]`` of dm/2 = dt/(2 cosh² t).

    Gauss-Legendre in t on either side of 0, where sgn m jumps. In m the laws of interest have layers at ±1 of any
    width, in t none narrower than what stands in their exponents.

    Raises:
        SaddlePointError: n above `MOST_PER_MEAN`.
    """
    check_size(nodes, MOST_PER_MEAN)
    x, weight = np.polynomial.legendre.leggauss(nodes // 2)
    t = torch.from_numpy(0.5 * FARTHEST * (1.0 + x))
    half = torch.from_numpy(0.25 * FARTHEST * weight) / torch.cosh(t).square()
    return torch.cat([-t.flip(0), t]), torch.cat([half.flip(0), half])


def check_size(nodes: int, most: int) -> None:
    """Raises SaddlePointError where integrals would take more nodes than can be had.

    So it is where equations drive overlaps to their bounds, r² = q or Q = 1, and every iteration takes a finer grid.
    """
    if nodes > most:
        raise SaddlePointError(
            f"an integral needs {nodes} nodes, of {most} at most: order parameters run to their bounds (r² = q, "
            "Q = 1), or a law is too narrow; lower alpha, beta or gamma",
            math.inf,
        )
