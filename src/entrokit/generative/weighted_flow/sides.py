"""Whether a plan was made with the source and the target exchanged, which no shape shows."""

from __future__ import annotations

import math

from torch import Tensor

from .costs import cost_matrix
from .potentials import SinkhornFactor

SWAPPED = (
    "potentials: the reference of the source is like the target's points, and that of the target like the source's: "
    "they are swapped; take sinkhorn_potentials(source, target, eps, cost), and points in that order"
)
# Points and references of a side that are looked at, at most and at least.
_MOST, _LEAST = 512, 8


def are_swapped(potentials: object, x: Tensor, y: Tensor) -> bool:
    """Whether ``x [N, *]``, of the source, are like the plan's reference of the target, and ``y [M, *]`` the other's.

    Right sides have ``E|x - x'| + E|y - y'| <= 2 E|x - y|``, equal for equal laws alone: the energy distance. True
    where that is broken by more than six standard errors, of points and references alike; of few points, and of
    factors that are not `sinkhorn_potentials`', never.
    """
    if not (isinstance(potentials, (tuple, list)) and all(isinstance(of, SinkhornFactor) for of in potentials)):
        return False
    # A factor's reference is of the other side.
    source, target = potentials[1].reference[:_MOST], potentials[0].reference[:_MOST]
    x, y = x[:_MOST], y[:_MOST]
    if min(len(x), len(y), len(source), len(target)) < _LEAST:
        return False
    own_x, other_x = cost_matrix(x, source), cost_matrix(x, target)
    own_y, other_y = cost_matrix(y, target), cost_matrix(y, source)
    excess = own_x.mean() - other_x.mean() + own_y.mean() - other_y.mean()
    # What each point, and each of the references, adds to it.
    parts = (
        own_x.mean(1) - other_x.mean(1),
        own_y.mean(1) - other_y.mean(1),
        own_x.mean(0) - other_y.mean(0),
        own_y.mean(0) - other_x.mean(0),
    )
    return float(excess) > 6 * math.sqrt(sum(float(part.var()) / len(part) for part in parts))
