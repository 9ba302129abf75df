"""What agents of the Couzin zone model want: away from whom is near, along with whom is further, towards the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .checked import TINY
from .histogram import AT_ONCE

# Agents from which a list of who is near may pay, and the largest share of all pairs, and number, that it may hold.
LISTED_FROM, LISTED_SHARE, LISTED_MOST = 500, 1 / 8, 2**25


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

        Large schools of which few are in reach of one another go by lists of pairs, out of a tree, as many in time and
        memory as there are. The rest goes by blocks of rows of the matrix of pairs: `AT_ONCE` or N of them in memory,
        N² in time. Sums are the same but for rounding.
        """
        agents = positions.shape[1]
        if agents >= LISTED_FROM and positions.device.type == "cpu":
            return torch.stack([self._of_one(x, u, box) for x, u in zip(positions, headings, strict=True)])
        return self._in_blocks(positions, headings, box)

    def _of_one(self, positions: Tensor, headings: Tensor, box: float) -> Tensor:
        tree = cKDTree(positions.detach().numpy(), boxsize=box)
        if tree.count_neighbors(tree, self.r_att) > min(LISTED_SHARE * len(positions) ** 2, LISTED_MOST):
            return self._in_blocks(positions[None], headings[None], box)[0]
        listed = torch.from_numpy(tree.query_pairs(self.r_att, output_type="ndarray"))
        away, social = torch.zeros_like(positions), torch.zeros_like(positions)
        crowded = torch.zeros(len(positions), 1, dtype=torch.bool)
        for pairs in torch.split(listed, AT_ONCE):
            apart = positions[pairs[:, 1]] - positions[pairs[:, 0]]
            apart = apart - box * torch.round(apart / box)
            length = apart.norm(dim=-1, keepdim=True)
            for own, other, d in ((*pairs.unbind(1), apart), (*pairs.flip(1).unbind(1), -apart)):
                seen = (length < self.r_att) & (length >= TINY)
                if self.blind_degrees > 0:
                    ahead = (headings[own] * d).sum(-1, keepdim=True)
                    seen &= ahead > -math.cos(math.radians(self.blind_degrees)) * length
                near, far = seen & (length < self.r_rep), seen & (length >= self.r_ori)
                toward = d / length.clamp(min=TINY)
                crowded[own[near[:, 0]]] = True
                away.index_add_(0, own, -near.to(d.dtype) * toward)
                along = self.ori_weight * (seen & ~(near | far)).to(d.dtype) * headings[other]
                social.index_add_(0, own, far.to(d.dtype) * toward + along)
        return unit(torch.where(crowded, away, social), headings)

    def _in_blocks(self, positions: Tensor, headings: Tensor, box: float) -> Tensor:
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
        # In units of the box a displacement to the nearest image is what is left by rounding.
        apart = [x[:, None, :] - x[:, start : start + rows, None] for x in (positions.mT / box).contiguous().unbind(-2)]
        for d in apart:
            d.sub_(d.round())
        distance = apart[0].square().addcmul_(apart[1], apart[1]).addcmul_(apart[2], apart[2]).sqrt_()
        # Nobody sees itself, or who lies where it does.
        distance.masked_fill_(distance < TINY / box, math.inf)
        seen = distance < self.r_att / box
        if self.blind_degrees > 0:
            u = own.unsqueeze(-1).unbind(-2)
            ahead = (u[0] * apart[0]).addcmul_(u[1], apart[1]).addcmul_(u[2], apart[2])
            seen &= ahead > distance * -math.cos(math.radians(self.blind_degrees))
        near, far = seen & (distance < self.r_rep / box), seen & (distance >= self.r_ori / box)
        crowded = near.any(-1, keepdim=True)
        # Who has somebody too near minds nobody else.
        along = (seen & ~(near | far | crowded)).to(distance.dtype) @ headings
        pull = (near | (far & ~crowded)).to(distance.dtype).div_(distance)
        toward = torch.stack([d.mul_(pull).sum(-1) for d in apart], -1)
        return unit(torch.where(crowded, -toward, toward + self.ori_weight * along), own)


def unit(vectors: Tensor, otherwise: Tensor) -> Tensor:
    """Vectors by their lengths, ``(..., 3)``; ``otherwise`` for those that have none."""
    length = vectors.norm(dim=-1, keepdim=True)
    return torch.where(length < TINY, otherwise, vectors / length.clamp(min=TINY))
