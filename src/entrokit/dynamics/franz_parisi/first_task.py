"""The first task's saddle point: a perceptron of binary weights that learns αN patterns of a teacher.

Statistical mechanics of continual learning (arXiv 2212.02846), replica symmetric, in the gauge where the teacher's
weights are +1. Means m ∈ [-1, 1]^N have the Gibbs weight exp(β Σ ln H), and

    φ = extr[ q̂q/2 - r̂r - Q̂Q + S(q̂, r̂, Q̂) + αE(q, r, Q) ]
    S = ∫Dz ln ∫dm/2 exp[ (Q̂ - q̂/2) m² + (√q̂ z + r̂) m ]
    q̂ = -2α ∂_q E,   r̂ = α ∂_r E,   Q̂ = α ∂_Q E;   q = E⟨m⟩²,   r = E⟨m⟩,   Q = E⟨m²⟩
"""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor

from .energy import energy
from .quadrature import gaussian_grid
from .saddle import Conjugates, Image, OrderParams, Overlaps, SaddlePointError, solve_saddle
from .single_site import density, moments

NODES = 41
# Of the integral over one weight's mean, whose law can be as narrow as a boundary layer.
NODES_PER_MEAN = 2
# What nothing learnt looks like, and a student that has all but found the teacher.
STARTS = (Overlaps(0.0, 0.0, 1.0 / 3.0), Overlaps(0.97, 0.98, 0.975))
_NOT_ONE = 1e-4


def solve_first_task(alpha: float, beta: float, nodes: int = NODES) -> OrderParams:
    """Order parameters and test error ``e1`` after the first task.

    Where there are several solutions (above α ≈ 1 at β = 20), that of the largest free entropy.

    Args:
        alpha: patterns a weight, at least 0. beta: inverse temperature, above 0.
        nodes: of every integral, at least 21, at its scale of variation. A solution has to hold on a finer grid;
            until it does, grids are refined, three times at most.

    Raises:
        ValueError: a number out of range.
        SaddlePointError: no solution was found, and by how much the best attempt misses.
    """
    check_numbers(alpha, beta, nodes)
    equations = partial(_equations, alpha, beta)
    return solve_saddle(
        equations, STARTS, alpha=alpha, beta=beta, nodes=nodes, what=f"first task, alpha={alpha:g}, beta={beta:g}"
    )


def first_task_residual(params: OrderParams) -> float:
    """By how much order parameters miss the first task's equations: the summed change of q, r, Q and of the hats.

    The hats' changes are relative to 1 + their size.
    """
    image = _equations(params.alpha, params.beta, Overlaps(params.q, params.r, params.Q), params.nodes)
    given = Conjugates(params.q_hat, params.r_hat, params.Q_hat)
    hats = sum(abs(a - b) / (1.0 + abs(b)) for a, b in zip(given, image.conjugates, strict=True))
    return image.overlaps.distance(Overlaps(params.q, params.r, params.Q)) + hats


def reference_density(params: OrderParams, nodes: int) -> tuple[Tensor, Tensor]:
    """P₁(m), the law of a weight's mean after the first task: nodes artanh m ``[M]``, and their probabilities ``[M]``.

    Raises:
        SaddlePointError: ``params`` are no solution of the first task.
    """
    residual = first_task_residual(params)
    if not residual < _NOT_ONE:
        raise SaddlePointError(
            f"first={params!r} misses the first task's equations by {residual:.1e} (allowed {_NOT_ONE:.0e}); it must "
            "be what solve_first_task returns",
            residual,
        )
    z, weight = gaussian_grid(nodes, field_width(params.q_hat))
    field = math.sqrt(max(params.q_hat, 0.0)) * z + params.r_hat
    return density(field, weight, params.Q_hat - 0.5 * params.q_hat, NODES_PER_MEAN * nodes)


def field_width(q_hat: float, stiffness: float = 1.0) -> float:
    """Width in z of what varies over fields √q̂ z as wide as ``stiffness``."""
    return max(stiffness, 1.0) / math.sqrt(max(q_hat, 1e-12))


def conjugates_of(overlaps: Overlaps, alpha: float, beta: float, nodes: int) -> tuple[Conjugates, float]:
    """The hats, and α E."""
    E, (by_q, by_r, by_self) = energy(*overlaps, beta, nodes)
    return Conjugates(-2.0 * alpha * by_q, alpha * by_r, alpha * by_self), alpha * E


def legendre_terms(overlaps: Overlaps, hats: Conjugates) -> float:
    """q̂q/2 - r̂r - Q̂Q."""
    return 0.5 * hats.q * overlaps.q - hats.r * overlaps.r - hats.Q * overlaps.Q


def check_numbers(alpha: float, beta: float, nodes: int) -> None:
    """Raises ValueError, which names the number that is out of range."""
    if not 0.0 <= alpha < math.inf:
        raise ValueError(f"alpha is patterns a weight, at least 0 and finite; got {alpha}")
    if not 0.0 < beta < math.inf:
        raise ValueError(f"beta is an inverse temperature, above 0 and finite; got {beta}")
    if nodes < 21:
        raise ValueError(f"nodes must be at least 21, got {nodes}")


def _equations(alpha: float, beta: float, overlaps: Overlaps, nodes: int) -> Image:
    hats, energy_term = conjugates_of(overlaps, alpha, beta, nodes)
    z, weight = gaussian_grid(nodes, field_width(hats.q))
    site = moments(math.sqrt(max(hats.q, 0.0)) * z + hats.r, hats.Q - 0.5 * hats.q, 0.0, NODES_PER_MEAN * nodes)
    phi = legendre_terms(overlaps, hats) + float(weight @ site.log_z) + energy_term
    following = Overlaps(float(weight @ site.mean.square()), float(weight @ site.mean), float(weight @ site.square))
    return Image(following, hats, phi, float(weight @ site.sign), None)
