"""The data's part of the potential: what P = αN patterns of a teacher do to the order parameters.

Statistical mechanics of continual learning (arXiv 2212.02846). With H(u) = ½ erfc(u/√2) and Gaussian Dx, Dz,

    E(q, r, Q) = 2 ∫Dz H(zr/√(q - r²)) ln ∫Dx H^β( (√(Q - q) x + √q z)/√(1 - Q) )

and, integrating by parts (k = H'/H, ⟨·⟩ over the x that the inner integral weighs at the field h),

    ∂_q E = -β²/(1 - Q) ∫Dz H(zr/√(q - r²)) ⟨k⟩²              h = √q z
    ∂_r E = -√(2/π) β/√(1 - Q) ∫Dz ⟨k⟩                         h = √(q - r²) z
    ∂_Q E = β(β - 1)/(1 - Q) ∫Dz H(zr/√(q - r²)) ⟨k²⟩          h = √q z

which stay finite where q or Q - q is 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .probit import hazard, log_tail
from .quadrature import MOST_TOGETHER, check_size, gaussian_grid

# What is under a root or divides is at least this while a solution is looked for.
LEAST = 1e-12
_NEWTON = 12


class Energy(NamedTuple):
    """E, and its derivatives by q, r and Q."""

    value: float
    gradient: tuple[float, float, float]


def energy(q: float, r: float, Q: float, beta: float, nodes: int) -> Energy:
    """E and its derivatives at order parameters; ``nodes`` as for `gaussian_grid`."""
    spread, apart = math.sqrt(max(Q - q, LEAST)), math.sqrt(max(q - r * r, LEAST))
    width, root = math.sqrt(max(1.0 - Q, LEAST)), math.sqrt(max(q, LEAST))
    z, weight = gaussian_grid(nodes, min(apart / max(abs(r), LEAST), width / root))
    wrong = weight * torch.exp(log_tail(z * r / apart))
    log_z, k, k_squared = _tilted(root * z, spread, width, beta, nodes)
    _, of_teacher, _ = _tilted(apart * z, spread, width, beta, nodes)
    return Energy(
        value=2.0 * float(wrong @ log_z),
        gradient=(
            -((beta / width) ** 2) * float(wrong @ k.square()),
            -math.sqrt(2.0 / math.pi) * beta / width * float(weight @ of_teacher),
            beta * (beta - 1.0) / width**2 * float(wrong @ k_squared),
        ),
    )


def _tilted(field: Tensor, spread: float, width: float, beta: float, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """ln ∫Dx H^β(u), ⟨k⟩ and ⟨k²⟩ at u = (spread x + field)/width, each ``[F]`` for fields ``[F]``.

    What the integral weighs is centred where it is largest, which is far from 0 for large fields. H is log-concave, so
    from there it falls at least as fast as a Gaussian, and the grid needs no other reach.
    """
    slope = spread / width
    x, _ = gaussian_grid(nodes, 1.0 / math.sqrt(1.0 + beta * slope**2))
    check_size(len(field) * len(x), MOST_TOGETHER)
    centre = torch.zeros_like(field)
    for _ in range(_NEWTON):  # a convex function, from the right: Newton's steps do not overshoot
        u = slope * centre + field / width
        k = hazard(u)
        centre = centre - (centre - beta * slope * k) / (1.0 + beta * slope**2 * k * (u + k))
    u = slope * (x + centre[:, None]) + field[:, None] / width
    log_weight = beta * log_tail(u) - 0.5 * (x + centre[:, None]).square()
    log_z = torch.logsumexp(log_weight, 1)
    weight, k = torch.exp(log_weight - log_z[:, None]), hazard(u)
    log_spacing = math.log(float(x[1] - x[0]) / math.sqrt(2.0 * math.pi))
    return log_z + log_spacing, (weight * k).sum(1), (weight * k.square()).sum(1)
