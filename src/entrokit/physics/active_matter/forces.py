"""Soft repulsion of particles in a periodic box, with its divergence in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .box import pairs_within, wrap
from .checks import check_above, check_at_least

__all__ = ["Forces", "SoftRepulsion"]


class Forces(NamedTuple):
    """Of every particle, ``[B, N, d]`` each: the force, and ∂F_ia / ∂x_ia, whose sum over a is its divergence."""

    force: Tensor
    diagonal: Tensor


@dataclass(frozen=True)
class SoftRepulsion:
    """F(r) = k · softplus_β(2 radius - |r|) · r / |r| between every two particles, softplus_β(z) = log(1 + e^{βz}) / β.

    Attributes:
        stiffness: k, at least 0. beta: the larger, the harder. radius: of a particle.
        cutoff: no force beyond this distance; by default 2 radius + 16 / beta, where it is k e^{-16} / beta.
    """

    stiffness: float = 1.0
    beta: float = 7.5
    radius: float = 1.0
    cutoff: float | None = None

    def __post_init__(self) -> None:
        check_at_least(stiffness=self.stiffness)
        check_above(beta=self.beta, radius=self.radius)
        if self.cutoff is not None and not 2 * self.radius < self.cutoff < math.inf:
            raise ValueError(f"a cutoff lies beyond contact, at {2 * self.radius:g}; it is {self.cutoff}")

    @property
    def reach(self) -> float:
        return 2 * self.radius + 16 / self.beta if self.cutoff is None else self.cutoff

    def strength(self, distance: Tensor) -> Tensor:
        """|F| at distances ``[*]``."""
        return self.stiffness * softplus(2 * self.radius - distance, beta=self.beta)

    def along(self, difference: Tensor) -> Forces:
        """F of differences r ``[P, d]`` and ∂F_a / ∂r_a = |F| / r + (|F|' - |F| / r) r_a² / r², each ``[P, d]``.

        Raises:
            ValueError: a difference of 0, which has no direction.
        """
        distance = torch.linalg.vector_norm(difference, dim=-1, keepdim=True)
        if bool((distance == 0).any()):
            raise ValueError(
                f"{int((distance == 0).sum())} pairs of particles are at the same place, the first is pair "
                f"{int((distance == 0).nonzero()[0, 0])}: their force has no direction"
            )
        outward = difference / distance
        force = self.strength(distance)
        slope = -self.stiffness * torch.sigmoid(self.beta * (2 * self.radius - distance))
        return Forces(force * outward, force / distance + (slope - force / distance) * outward.square())

    def __call__(self, x: Tensor, half_width: float, pairs: Tensor | None = None) -> Forces:
        """The force on every particle at ``x`` ``[B, N, d]`` of the box [-L, L)^d, from all within the cutoff.

        Pairs are found without gradients, forces are differentiable.

        Args:
            pairs: ``[2, P]`` as `pairs_within` gives for a larger reach, where the same list serves several steps.

        Raises:
            ValueError: particles outside of the box or at the same place; a given cutoff beyond L.
        """
        if self.stiffness == 0 or x.shape[1] == 1:
            return Forces(torch.zeros_like(x), torch.zeros_like(x))
        reach = self.reach_in(half_width)
        first, second = pairs_within(x, half_width, reach) if pairs is None else pairs
        flat = x.flatten(0, 1)
        difference = wrap(flat[first] - flat[second], half_width)
        if pairs is not None:
            near = difference.detach().square().sum(-1) < reach**2
            first, second, difference = first[near], second[near], difference[near]
        pair = self.along(difference)
        force = torch.zeros_like(flat).index_add(0, first, pair.force).index_add(0, second, -pair.force)
        diagonal = torch.zeros_like(flat).index_add(0, first, pair.diagonal).index_add(0, second, pair.diagonal)
        return Forces(force.view_as(x), diagonal.view_as(x))

    def reach_in(self, half_width: float) -> float:
        """How far the force reaches in a box; the default cutoff ends at L.

        Raises:
            ValueError: a given cutoff beyond L.
        """
        if self.cutoff is not None and self.cutoff > half_width:
            raise ValueError(
                f"the force reaches to {self.cutoff:.4g}, beyond the half width {half_width:.4g} of the box: a "
                "particle would meet its image; take more particles, or a smaller cutoff"
            )
        return min(self.reach, half_width)
