"""A family of one's own: two Gaussians that mirror each other, for events with two sides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mirrored:
    """Half N(mean, 1), half N(-mean, 1)."""

    mean: float = 0.0

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        side = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
        return side * self.mean + torch.randn(n, generator=generator, dtype=torch.float64)

    def log_prob(self, x: Tensor) -> Tensor:
        sides = torch.logaddexp(-0.5 * (x - self.mean).square(), -0.5 * (x + self.mean).square())
        return sides - math.log(2.0) - 0.5 * math.log(2.0 * math.pi)

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> Mirrored:
        w = torch.softmax(log_weights, 0)
        mean = float((w * x.abs()).sum())
        for _ in range(20):  # the fixed point m = Σ w x tanh(m x) is the maximum likelihood
            mean = float((w * x * torch.tanh(mean * x)).sum())
        return Mirrored(smoothing * mean + (1.0 - smoothing) * self.mean)
