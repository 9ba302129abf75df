"""Activations without a singularity: ReLU smoothed by a Gaussian is entire (arXiv 2603.13552)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def ria(x: Tensor, beta: float = 1.0) -> Tensor:
    """``x Φ(βx) + φ(βx) / β``, Φ and φ the standard normal's distribution and density: ReLU as β grows.

    Raises:
        ValueError: β not above 0, or infinite.
    """
    if not 0 < beta < math.inf:
        raise ValueError(f"ria: beta must be above 0 and finite, got {beta}")
    density = torch.exp(-0.5 * (beta * x).square()) / math.sqrt(2.0 * math.pi)
    smooth: Tensor = x * torch.special.ndtr(beta * x) + density / beta
    return smooth


class GaussGLU(nn.Module):
    """A gated unit with an entire gate, ``(W_v x) ⊙ Φ(β W_g x)``: ``[..., d_in]`` to ``[..., d_out]``."""

    def __init__(self, d_in: int, d_out: int, *, beta: float = 1.0, bias: bool = False) -> None:
        super().__init__()
        if not 0 < beta < math.inf:
            raise ValueError(f"GaussGLU: beta must be above 0 and finite, got {beta}")
        self.value, self.gate = nn.Linear(d_in, d_out, bias=bias), nn.Linear(d_in, d_out, bias=bias)
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.value(x) * torch.special.ndtr(self.beta * self.gate(x))
        return gated
