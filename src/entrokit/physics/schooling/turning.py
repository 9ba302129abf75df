"""Turns that are limited to an angle a step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .zones import unit

Turn = Literal["nlerp", "slerp"]


def turned(headings: Tensor, desired: Tensor, max_turn: float, turn: Turn) -> Tensor:
    """Unit vectors ``(..., 3)`` turned towards others by at most ``max_turn`` radians.

    ``nlerp``, the released code's: the point on the chord at the share max_turn / ψ, normalised. It turns by less than
    ``max_turn``, the less the larger ψ is: of 0.3 rad by 0.285 for ψ = 1, by 0.018 for ψ = 3, by nothing for ψ = π.
    ``slerp`` turns along the sphere by ``max_turn`` itself; whoever wants straight back turns to a side that is fixed.
    """
    cosine = (headings * desired).sum(-1, keepdim=True).clamp(-1.0, 1.0)
    angle = cosine.arccos()
    if turn == "nlerp":
        share = max_turn / angle.clamp(min=max_turn)
        limited = unit(headings + share * (desired - headings), headings)
    else:
        sideways = unit(desired - cosine * headings, _perpendicular(headings))
        limited = (
            torch.cos(headings.new_tensor(max_turn)) * headings + torch.sin(headings.new_tensor(max_turn)) * sideways
        )
    return torch.where(angle <= max_turn, desired, limited)


def _perpendicular(headings: Tensor) -> Tensor:
    axis = torch.nn.functional.one_hot(headings.abs().argmin(-1), 3).to(headings.dtype)
    return unit(torch.linalg.cross(headings, axis), axis)
