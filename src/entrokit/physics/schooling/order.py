"""Order parameters of a school: how far it swims one way, how far it turns, how wide it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checked import TINY, Array, Still, checked_box, checked_vectors, directions

__all__ = ["centroid", "from_centroid", "order_index", "polarization", "rotation", "spread"]


def polarization(velocities: Array, *, still: Still = "error") -> Tensor:
    """P = |mean of headings|, ``(..., N, 3)`` to ``(...)``: 1 where all swim one way, near 0 where each its own.

    Two halves that swim against one another have 0 too; `polarization_entropy`, of the same headings, tells them from a
    swarm, and is 0 for order.
    """
    mean: Tensor = directions(velocities, still=still).mean(-2)
    length: Tensor = torch.linalg.vector_norm(mean, dim=-1)
    return length


def rotation(positions: Array, velocities: Array, *, box: float | None = None, still: Still = "error") -> Tensor:
    """M = |mean of r̂ × u|, ``(...)``: 1 for a mill, where r̂ points from the centroid to the agent and u is its heading.

    Args:
        box: side of a periodic cube, to measure around its edge (`from_centroid`); by default as the released code
            does, which does not.
    """
    turning = angular_momenta(from_centroid(positions, box=box), directions(velocities, still=still))
    length: Tensor = torch.linalg.vector_norm(turning.mean(-2), dim=-1)
    return length


def spread(positions: Array, *, box: float | None = None) -> Tensor:
    """Root of the mean squared distance from the centroid, ``(...)``, in the unit of the positions; for ``box`` see
    `rotation`."""
    return from_centroid(positions, box=box).square().sum(-1).mean(-1).sqrt()


def order_index(positions: Array, velocities: Array, *, box: float | None = None, still: Still = "error") -> Tensor:
    """The larger of polarization and rotation, ``(...)`` in [0, 1]."""
    return torch.maximum(polarization(velocities, still=still), rotation(positions, velocities, box=box, still=still))


def centroid(positions: Array, *, box: float | None = None) -> Tensor:
    """Mean position ``(..., 3)``; in a periodic cube of side ``box`` that of the school as a whole, in [0, box).

    The circular mean of every axis says where the school is; the mean of what is left to the nearest images is added.
    A school that fits into half of the box so has the centroid that it would have in the middle of it. One that fills
    the box has none: whatever is returned then depends on little.
    """
    given = checked_vectors("positions", positions)
    if box is None:
        return given.mean(-2)
    side = checked_box(box)
    angle = given * (2.0 * math.pi / side)
    about = torch.atan2(angle.sin().mean(-2), angle.cos().mean(-2)) * (side / (2.0 * math.pi))
    return torch.remainder(about + nearest_image(given - about[..., None, :], side).mean(-2), side)


def from_centroid(positions: Array, *, box: float | None = None) -> Tensor:
    """Positions seen from the centroid, ``(..., N, 3)``; with ``box``, to their nearest images."""
    given = checked_vectors("positions", positions)
    apart = given - centroid(given, box=box)[..., None, :]
    return apart if box is None else nearest_image(apart, checked_box(box))


def angular_momenta(apart: Tensor, headings: Tensor) -> Tensor:
    """r̂ × u of every agent, ``(..., N, 3)``."""
    distance = apart.norm(dim=-1, keepdim=True)
    outward = apart / torch.where(distance < TINY, 1.0, distance)
    momenta: Tensor = torch.linalg.cross(outward, headings.to(outward.dtype))
    return momenta


def nearest_image(apart: Tensor, box: float) -> Tensor:
    """Displacements in a periodic cube, the shortest of their images."""
    return apart - box * torch.round(apart / box)
