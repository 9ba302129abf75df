"""Histograms of headings on the sphere, and of how pairs of agents are aligned."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from .histogram import AT_ONCE, EDGE, bin_of, counted

SolidAngle = Literal["official", "none", "equal_area"]
POLAR, AZIMUTHAL = 12, 24
ALIGNMENTS = 20


def heading_weights(headings: Tensor, solid_angle: SolidAngle) -> Tensor:
    """Weights ``(F, 288)`` of 12 polar by 24 azimuthal bins, of headings ``(F, N, 3)``.

    ``official``: equal angles, each count times the sine of the middle of its bin. Counts of isotropic headings have
    this factor already, so that it stands there twice. ``none``: equal angles, counts alone. ``equal_area``: bins of
    equal area, even in cos θ.
    """
    x, y, z = headings.unbind(-1)
    z = z.clamp(-1.0, 1.0)
    height = (1.0 - z) / 2.0 if solid_angle == "equal_area" else z.arccos() / math.pi
    polar = bin_of(height * POLAR, POLAR)
    turn = (torch.atan2(y, x) + math.pi) / (2.0 * math.pi)
    azimuthal = bin_of(turn * AZIMUTHAL, AZIMUTHAL)
    counts = counted(polar * AZIMUTHAL + azimuthal, POLAR * AZIMUTHAL).double()
    if solid_angle != "official":
        return counts
    middles = (torch.arange(POLAR, dtype=torch.float64, device=counts.device) + 0.5) * (math.pi / POLAR)
    return counts * middles.sin().repeat_interleave(AZIMUTHAL)


def alignment_counts(headings: Tensor) -> Tensor:
    """Counts ``(F, 20)`` of u_i · u_j over all pairs i < j, in equal bins of [-1, 1], of headings ``(F, N, 3)``.

    N² / 2 products a frame, `AT_ONCE` or N of them in memory.
    """
    # (u · w + 1) 10, what a bin's number is cut from, by one product of matrices.
    scaled = torch.nn.functional.pad(headings * (ALIGNMENTS / 2), (0, 1), value=ALIGNMENTS / 2 + EDGE)
    others = torch.nn.functional.pad(headings, (0, 1), value=1.0).mT.contiguous()
    return torch.stack([_alignments(own, other) for own, other in zip(scaled, others, strict=True)])


def _alignments(scaled: Tensor, others: Tensor) -> Tensor:
    agents = len(scaled)
    rows = max(1, AT_ONCE // agents)
    twice = torch.zeros(ALIGNMENTS + 1, dtype=torch.long, device=scaled.device)
    for start in range(0, agents, rows):
        bins = (scaled[start : start + rows] @ others[:, start:]).int()
        square = bins[:, :rows]
        twice += _counted(square) - _counted(square.diagonal()) + 2 * _counted(bins[:, rows:])
    # Products of unit vectors are 1 or, by a rounding, more; the released code's histogram drops the latter.
    twice[-2] += twice[-1]
    return twice[:-1] // 2


def _counted(bins: Tensor) -> Tensor:
    return torch.bincount(bins.flatten(), minlength=ALIGNMENTS + 1)
