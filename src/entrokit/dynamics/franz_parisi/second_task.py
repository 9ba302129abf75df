"""The second task's saddle point: a two-temperature Franz-Parisi potential with the first task as reference.

Statistical mechanics of continual learning (arXiv 2212.02846). Teacher 2 agrees with teacher 1 (gauge +1) with
probability (1 + r₀)/2, B = ±1 accordingly. With P₁(m₁) of the first task,

    p(m | m₁, x, B) ∝ exp[ (Q̂ - q̂/2) m² + √q̂ x m + r̂ B m - βγ KL(m‖m₁) ]
    q = E⟨m⟩²,   r = E B⟨m⟩,   Q = E⟨m²⟩   over P₁(m₁), Dx and B;  the hats as in the first task, with α₂
    e₁ = arccos(E⟨sgn m⟩)/π,   e₂ = arccos(E B⟨sgn m⟩)/π
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .first_task import (
    NODES,
    NODES_PER_MEAN,
    check_numbers,
    conjugates_of,
    field_width,
    legendre_terms,
    reference_density,
)
from .quadrature import gaussian_grid
from .saddle import Image, OrderParams, Overlaps, solve_saddle
from .single_site import moments

_NEGLIGIBLE = 1e-15


def solve_second_task(
    first: OrderParams, alpha2: float, beta: float, r0: float, gamma: float = 1.0, nodes: int = NODES
) -> OrderParams:
    """Order parameters along teacher 2, and the test errors ``e1``, ``e2`` on both tasks, after the second.

    Args:
        first: of `solve_first_task`. alpha2: patterns a weight, at least 0. beta: inverse temperature, above 0.
        r0: overlap of the teachers, -1 to 1. gamma: strength of the KL, at least 0; 0 forgets what came before.
        nodes: as for `solve_first_task`.

    Raises:
        ValueError: a number out of range.
        SaddlePointError: ``first`` is no solution, or none was found; by how much it misses.
    """
    check_numbers(alpha2, beta, nodes)
    if not -1.0 <= r0 <= 1.0:
        raise ValueError(f"r0 is an overlap of teachers, -1 to 1; got {r0}")
    if not 0.0 <= gamma < math.inf:
        raise ValueError(f"gamma weighs the KL, at least 0 and finite; got {gamma}")
    pull = beta * gamma
    grids: dict[int, _Reference] = {}

    def equations(overlaps: Overlaps, nodes: int) -> Image:
        if nodes not in grids:
            grids[nodes] = _reference(first, pull, nodes)
        return _equations(alpha2, beta, r0, pull, grids[nodes], overlaps, nodes)

    starts = (Overlaps(first.q, r0 * first.r, first.Q), Overlaps(0.97, 0.98, 0.975))
    what = f"second task, alpha2={alpha2:g}, beta={beta:g}, r0={r0:g}, gamma={gamma:g}"
    return solve_saddle(equations, starts, alpha=alpha2, beta=beta, nodes=nodes, what=what)


class _Reference(NamedTuple):
    """P₁ as shifts of the field ``[M]`` that the KL makes, their probabilities ``[M]``, and what it adds to φ."""

    shift: Tensor
    probability: Tensor
    phi: float


def _reference(first: OrderParams, pull: float, nodes: int) -> _Reference:
    t, probability = reference_density(first, nodes)
    if not pull:
        return _Reference(t.new_zeros(1), t.new_ones(1), 0.0)
    phi = -pull * float(probability @ torch.log(2.0 * torch.cosh(t)))
    return _Reference(pull * t, probability, phi)


def _equations(
    alpha2: float, beta: float, r0: float, pull: float, reference: _Reference, overlaps: Overlaps, nodes: int
) -> Image:
    hats, energy_term = conjugates_of(overlaps, alpha2, beta, nodes)
    curvature = hats.Q - 0.5 * hats.q
    x, gaussian = gaussian_grid(nodes, field_width(hats.q, stiffness=pull - 2.0 * curvature))
    agreement = x.new_tensor([1.0, -1.0])
    chance = 0.5 * (1.0 + r0 * agreement)
    field = reference.shift[:, None, None] + math.sqrt(max(hats.q, 0.0)) * x[:, None] + hats.r * agreement
    weight = (reference.probability[:, None, None] * gaussian[:, None] * chance).flatten()
    kept = weight > _NEGLIGIBLE  # half of the fields, and of the time, is spent on none of the weight
    weight, along = weight[kept], (weight * agreement.expand_as(field).flatten())[kept]
    site = moments(field.flatten()[kept], curvature, pull, NODES_PER_MEAN * nodes)
    phi = legendre_terms(overlaps, hats) + float(weight @ site.log_z) + reference.phi + energy_term
    following = Overlaps(float(weight @ site.mean.square()), float(along @ site.mean), float(weight @ site.square))
    return Image(following, hats, phi, float(weight @ site.sign), float(along @ site.sign))
