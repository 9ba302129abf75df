"""K of a whole tensor: norms of its entries, and the logarithm of a sum of exponentials.

A tensor is one block, whatever its shape. Distances to the unit ball of the dual norm are in that norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .convex import on_domain, wide


class _Norm:
    """K(z) = ‖z‖: the conjugate is 0 on the unit ball of the dual norm."""

    elementwise = False
    least_at_zero = True

    def dual(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def distance(self, y: Tensor) -> Tensor:
        return (self.dual(wide(y)) - 1.0).clamp(min=0.0)

    def conjugate(self, y: Tensor) -> Tensor:
        distance = self.distance(y)
        return on_domain(torch.zeros_like(distance), distance, y.dtype)


@dataclass(frozen=True)
class Lp(_Norm):
    """K = ‖z‖_p, 1 ≤ p < ∞, 2 if not told: f subject to ‖x‖_q ≤ 1/λ with 1/p + 1/q = 1. The gradient of 0 is 0."""

    p: float = 2.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.p < math.inf:
            raise ValueError(f"lp: p must be a number of at least 1, got {self.p}")

    def value(self, z: Tensor) -> Tensor:
        unit, largest = _unit(wide(z))
        norm: Tensor = torch.linalg.vector_norm(unit, self.p)
        return largest * norm

    def grad(self, z: Tensor) -> Tensor:
        # Divided by its largest entry first: powers neither overflow nor vanish all together.
        unit, _ = _unit(wide(z))
        norm: Tensor = torch.linalg.vector_norm(unit, self.p).clamp(min=1.0)
        return (unit.sign() * (unit.abs() / norm) ** (self.p - 1.0)).to(z.dtype)

    def dual(self, y: Tensor) -> Tensor:
        unit, largest = _unit(y)
        q = math.inf if self.p == 1.0 else self.p / (self.p - 1.0)
        norm: Tensor = torch.linalg.vector_norm(unit, q)
        return largest * norm


@dataclass(frozen=True)
class TopK(_Norm):
    """K = sum of the k largest |z|, ∇K = their signs: f subject to ‖x‖_∞ ≤ 1/λ and ‖x‖_1 ≤ k/λ; k ≥ 1.

    Of a tensor of fewer entries all are taken; among equals, any.
    """

    k: int

    def __post_init__(self) -> None:
        if not 1 <= self.k < math.inf or self.k != int(self.k):
            raise ValueError(f"top-k: k must be a whole number of at least 1, got {self.k}")
        object.__setattr__(self, "k", int(self.k))

    def value(self, z: Tensor) -> Tensor:
        return wide(z).abs().flatten().topk(min(self.k, z.numel())).values.sum()

    def grad(self, z: Tensor) -> Tensor:
        flat = z.flatten()
        chosen = flat.abs().topk(min(self.k, len(flat)), sorted=False).indices
        return torch.zeros_like(flat).scatter_(0, chosen, flat[chosen].sign()).view(z.shape)

    def dual(self, y: Tensor) -> Tensor:
        size = y.abs()
        return torch.maximum(size.amax(), size.sum() / self.k)


@dataclass(frozen=True)
class LogSumExp:
    """K = ln Σ exp z, ∇K = softmax: f + Σ x ln(λx), in nats, for x on the simplex of mass 1/λ. Not of the paper.

    The distance is that of ‖·‖_1. K is not least at 0: there is no theory without weight decay.
    """

    elementwise = False
    least_at_zero = False

    def value(self, z: Tensor) -> Tensor:
        return torch.logsumexp(wide(z).flatten(), 0)

    def grad(self, z: Tensor) -> Tensor:
        return torch.softmax(wide(z).flatten(), 0).view(z.shape).to(z.dtype)

    def conjugate(self, y: Tensor) -> Tensor:
        p = wide(y).clamp(min=0.0)
        return on_domain(torch.xlogy(p, p).sum(), self.distance(y), y.dtype)

    def distance(self, y: Tensor) -> Tensor:
        # To the nearest: what is negative goes to 0, and mass is taken from, or added to, the rest.
        p = wide(y)
        return p.clamp(max=0.0).sum().abs() + (p.clamp(min=0.0).sum() - 1.0).abs()

    def inside(self, y: Tensor) -> Tensor:
        p = wide(y).clamp(min=0.0)
        return p / p.sum()


def _unit(z: Tensor) -> tuple[Tensor, Tensor]:
    """z over its largest absolute entry, and that entry; zeros stay zeros, and infinities infinite."""
    largest = z.abs().amax()
    return z / torch.where(largest > 0, largest.clamp(max=torch.finfo(z.dtype).max), 1.0), largest
