"""The paper's recurrent network of rectified rates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .initialisers import GAIN, low_rank_init_


class RateRNN(nn.Module):
    """``h_t = ReLU((1 - a) h_{t-1} + a (W_in x_t + W_rec h_{t-1}))``, h before the first step 0, readout ``W_out h_t``.

    Official code of arXiv 2310.08513: no biases, W_in and W_out uniform within ±1/√fan_in. With its a = dt/τ = 1 there
    is no leak.

    Args:
        inputs, hidden, outputs: sizes. rank: of W_rec at the start; full by default. gain: see `low_rank_init_`.
        leak: a, above 0, at most 1. generator: of all weights. W_rec is drawn first, so that one seed gives one W_0 and
            one W_in and W_out for every rank.

    Raises:
        ValueError: a leak out of range; see `low_rank_init_`.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        rank: int | None = None,
        gain: float = GAIN,
        leak: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0 < leak <= 1:
            raise ValueError(f"RateRNN: leak must be above 0 and at most 1, got {leak}")
        self.leak = leak
        self.W_rec = nn.Parameter(torch.empty(hidden, hidden))
        self.W_in = nn.Parameter(torch.empty(hidden, inputs))
        self.W_out = nn.Parameter(torch.empty(outputs, hidden))
        low_rank_init_(self.W_rec, hidden if rank is None else rank, generator, gain=gain)
        for weight in (self.W_in, self.W_out):
            within = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -within, within, generator=generator)

    def activity(self, x: Tensor) -> Tensor:
        """h of inputs ``[n, T, inputs]``: ``[n, T, hidden]``, from 0 up.

        Raises:
            ValueError: inputs of another shape, or of no step.
        """
        if x.dim() != 3 or not x.shape[1] or x.shape[2] != self.W_in.shape[1]:
            raise ValueError(f"RateRNN: inputs [n, T, {self.W_in.shape[1]}] of T >= 1 steps, got {list(x.shape)}")
        h = x.new_zeros(len(x), self.W_rec.shape[0])
        course = []
        for driven in (x @ self.W_in.T).unbind(1):
            h = torch.relu((1 - self.leak) * h + self.leak * (driven + h @ self.W_rec.T))
            course.append(h)
        return torch.stack(course, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``[n, T, outputs]`` of every step; see `activity`."""
        return self.activity(x) @ self.W_out.T
