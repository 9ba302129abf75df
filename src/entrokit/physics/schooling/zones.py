"""What agents of the Couzin zone model want: away from whom is near, along with whom is further, towards the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .checked import TINY
from .histogram import AT_ONCE


@dataclass(frozen=True)
class Zones:
    """Radii r_rep < r_ori <= r_att of the three zones, and what of them is seen and counts.

    Attributes:
        r_rep, r_ori, r_att: in the unit of the positions.
        blind_degrees: half-angle of the cone behind an agent in which it sees nobody; 0: it sees all around, 150: no
            more than a cone of half-angle 30 before it.
        ori_weight: of the zone of orientation, in [0, 1].

    Raises:
        ValueError: radii that are not in order, or numbers out of their ranges.
    """

    r_rep: float
    r_ori: float
    r_att: float
    blind_degrees: float
    ori_weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.r_rep < self.r_ori <= self.r_att < math.inf:
            raise ValueError(f"radii: 0 <= r_rep < r_ori <= r_att, got {self.r_rep}, {self.r_ori}, {self.r_att}")
        if not 0 <= self.blind_degrees < 180:
            raise ValueError(f"blind_degrees: half of the blind cone's angle, in [0, 180), got {self.blind_degrees}")
        if not 0 <= self.ori_weight <= 1:
            raise ValueError(f"ori_weight: in [0, 1], got {self.ori_weight}")

    def desired(self, positions: Tensor, headings: Tensor, box: float) -> Tensor:
        """Directions that agents of schools ``(S, N, 3)`` want; their headings where they see nobody, or sums cancel.

        A block of rows of the matrix of pairs at a time: `AT_ONCE` or N of them in memory, N² in time.
        """
        agents = positions.shape[1]
        rows, schools = max(1, AT_ONCE // agents), max(1, AT_ONCE // agents**2)
        return torch.cat(
            [
                torch.cat([self._block(x, u, box, start, rows) for start in range(0, agents, rows)], 1)
                for x, u in zip(torch.split(positions, schools), torch.split(headings, schools), strict=True)
            ]
        )

    def _block(self, positions: Tensor, headings: Tensor, box: float, start: int, rows: int) -> Tensor:
        own = headings[:, start : start + rows]
        apart = [x[:, None, :] - x[:, start : start + rows, None] for x in positions.unbind(-1)]
        for d in apart:
            d.sub_(torch.round(d / box).mul_(box))
        distance = torch.sqrt(apart[0].square().addcmul_(apart[1], apart[1]).addcmul_(apart[2], apart[2]))
        seen = (distance < self.r_att) & (distance >= TINY)
        if self.blind_degrees > 0:
            ahead = sum(u[..., None] * d for u, d in zip(own.unbind(-1), apart, strict=True))
            seen &= ahead > -math.cos(math.radians(self.blind_degrees)) * distance
        near, far = seen & (distance < self.r_rep), seen & (distance >= self.r_ori)
        crowded = near.any(-1, keepdim=True)
        # Who has somebody too near minds nobody else.
        pull = torch.where(crowded, -near.to(distance.dtype), far.to(distance.dtype)) / distance.clamp_(min=TINY)
        along = (seen & ~(near | far | crowded)).to(distance.dtype) @ headings
        wanted = torch.stack([(pull * d).sum(-1) for d in apart], -1) + self.ori_weight * along
        return unit(wanted, own)


def unit(vectors: Tensor, otherwise: Tensor) -> Tensor:
    """Vectors by their lengths, ``(..., 3)``; ``otherwise`` for those that have none."""
    length = vectors.norm(dim=-1, keepdim=True)
    return torch.where(length < TINY, otherwise, vectors / length.clamp(min=TINY))
