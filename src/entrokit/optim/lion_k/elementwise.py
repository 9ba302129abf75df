"""K that act on every entry alone: Lion's own, and its neighbours with a dead zone or a smooth middle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .convex import on_domain, wide


class _Elementwise:
    """The members whose gradients lie in [−1, 1]: the conjugate is finite on that box. Sup distance to it."""

    elementwise = True
    least_at_zero = True

    def foreach_grad_(self, zs: list[Tensor]) -> None:
        raise NotImplementedError

    def grad(self, z: Tensor) -> Tensor:
        out = z.clone()
        self.foreach_grad_([out])
        return out

    def distance(self, y: Tensor) -> Tensor:
        return (wide(y).abs().amax() - 1.0).clamp(min=0.0)


@dataclass(frozen=True)
class L1(_Elementwise):
    """K = ‖z‖_1, ∇K = sign z: Lion. f subject to ‖x‖_∞ ≤ 1/λ."""

    def value(self, z: Tensor) -> Tensor:
        return wide(z).abs().sum()

    def foreach_grad_(self, zs: list[Tensor]) -> None:
        torch._foreach_sign_(zs)

    def conjugate(self, y: Tensor) -> Tensor:
        distance = self.distance(y)
        return on_domain(torch.zeros_like(distance), distance, y.dtype)


@dataclass(frozen=True)
class DeadZone(_Elementwise):
    """K = Σ max(|z| − e, 0): Lion that leaves small entries alone. f + e‖x‖_1 subject to ‖x‖_∞ ≤ 1/λ; e ≥ 0."""

    e: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.e < float("inf"):
            raise ValueError(f"dead-zone: e must be a number of at least 0, got {self.e}")

    def value(self, z: Tensor) -> Tensor:
        return (wide(z).abs() - self.e).clamp(min=0.0).sum()

    def foreach_grad_(self, zs: list[Tensor]) -> None:
        # What is left beyond the zone is exactly 0 inside of it.
        torch._foreach_sub_(zs, _clamped(zs, self.e))
        torch._foreach_sign_(zs)

    def conjugate(self, y: Tensor) -> Tensor:
        return on_domain(self.e * wide(y).abs().sum(), self.distance(y), y.dtype)


@dataclass(frozen=True)
class Huber(_Elementwise):
    """K = Σ z²/2e for |z| ≤ e, |z| − e/2 beyond; ∇K = clip(z, −e, e)/e. f + (eλ/2)‖x‖² in the box; e > 0."""

    e: float

    def __post_init__(self) -> None:
        if not 0.0 < self.e < float("inf"):
            raise ValueError(f"huber: e must be a number above 0, got {self.e}")

    def value(self, z: Tensor) -> Tensor:
        size = wide(z).abs()
        inner = size.clamp(max=self.e)
        return (inner.square() / (2.0 * self.e) + size - inner).sum()

    def foreach_grad_(self, zs: list[Tensor]) -> None:
        torch._foreach_clamp_min_(zs, -self.e)
        torch._foreach_clamp_max_(zs, self.e)
        torch._foreach_div_(zs, self.e)

    def conjugate(self, y: Tensor) -> Tensor:
        return on_domain(0.5 * self.e * wide(y).square().sum(), self.distance(y), y.dtype)


@dataclass(frozen=True)
class HalfSquare(_Elementwise):
    """K = ‖z‖²/2, ∇K = z: heavy ball, or Nesterov, with decay. f + (λ/2)‖x‖², without a constraint."""

    def value(self, z: Tensor) -> Tensor:
        return 0.5 * wide(z).square().sum()

    def foreach_grad_(self, zs: list[Tensor]) -> None:
        pass

    def conjugate(self, y: Tensor) -> Tensor:
        return 0.5 * wide(y).square().sum()

    def distance(self, y: Tensor) -> Tensor:
        # 0, and NaN for NaN.
        return torch.where(wide(y).isnan().any(), torch.nan, 0.0)


def _clamped(zs: list[Tensor], e: float) -> list[Tensor]:
    clamped: list[Tensor] = list(torch._foreach_clamp_min(zs, -e))
    torch._foreach_clamp_max_(clamped, e)
    return clamped
