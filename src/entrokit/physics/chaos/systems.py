"""Chaotic flows with the parameters and periods of the annotated data base (arXiv 2110.05266).

States are ``(x, y, z)``. All but one start near the origin and need a transient before they are on the attractor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from .flow import Flow
from .space import CyclicFlow, JerkFlow, SpaceFlow, Start, Velocity

__all__ = [
    "SYSTEMS",
    "Arneodo",
    "Chen",
    "Dadras",
    "GenesioTesi",
    "Hadley",
    "Halvorsen",
    "Lorenz",
    "Lorenz84",
    "Rossler",
    "Rucklidge",
    "ShimizuMorioka",
    "SprottB",
    "SprottE",
    "SprottK",
    "Thomas",
]

_NEAR: Start = (0.1, 0.1, 0.1)


@dataclass(frozen=True, kw_only=True)
class Lorenz(SpaceFlow):
    """σ(y - x), ρx - xz - y, xy - βz; starts on the attractor."""

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 2.667
    period: float = 1.5008
    start: Start = (-9.787, -15.039, 20.534)

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z


@dataclass(frozen=True, kw_only=True)
class Rossler(SpaceFlow):
    """-y - z, x + ay, b + z(x - c)."""

    a: float = 0.2
    b: float = 0.2
    c: float = 5.7
    period: float = 5.9086
    start: Start = (1.0, 1.0, 1.0)

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return -y - z, x + self.a * y, self.b + z * (x - self.c)


@dataclass(frozen=True, kw_only=True)
class Thomas(CyclicFlow):
    """-ax + b sin y, and cyclic."""

    a: float = 1.85
    b: float = 10.0
    period: float = 4.969
    start: Start = (1.0, 0.0, 0.5)

    def along(self, u: Any, v: Any, w: Any) -> Any:
        return self.b * _sin(v) - self.a * u


@dataclass(frozen=True, kw_only=True)
class Halvorsen(CyclicFlow):
    """-ax - b(y + z) - y², and cyclic."""

    a: float = 1.4
    b: float = 4.0
    period: float = 1.4889
    start: Start = (-1.0, 0.0, 0.5)

    def along(self, u: Any, v: Any, w: Any) -> Any:
        return -self.a * u - self.b * (v + w) - v * v


@dataclass(frozen=True, kw_only=True)
class Chen(SpaceFlow):
    """a(y - x), (c - a)x - xz + cy, xy - bz."""

    a: float = 35.0
    b: float = 3.0
    c: float = 28.0
    period: float = 0.58689
    start: Start = (1.0, 1.0, 1.0)

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return self.a * (y - x), (self.c - self.a - z) * x + self.c * y, x * y - self.b * z


@dataclass(frozen=True, kw_only=True)
class Rucklidge(SpaceFlow):
    """-ax + by - yz, x, -z + y²."""

    a: float = 2.0
    b: float = 6.7
    period: float = 6.0721
    start: Start = (1.0, 1.0, 1.0)

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return self.b * y - self.a * x - y * z, x, y * y - z


@dataclass(frozen=True, kw_only=True)
class GenesioTesi(JerkFlow):
    """y, z, -cx - by - az + x²."""

    a: float = 0.44
    b: float = 1.1
    c: float = 1.0
    period: float = 5.9431
    start: Start = _NEAR

    def jerk(self, x: Any, y: Any, z: Any) -> Any:
        return x * (x - self.c) - self.b * y - self.a * z


@dataclass(frozen=True, kw_only=True)
class Arneodo(JerkFlow):
    """y, z, -ax - by - cz + dx³."""

    a: float = -5.5
    b: float = 4.5
    c: float = 1.0
    d: float = -1.0
    period: float = 3.1641
    start: Start = _NEAR

    def jerk(self, x: Any, y: Any, z: Any) -> Any:
        return x * (self.d * x * x - self.a) - self.b * y - self.c * z


@dataclass(frozen=True, kw_only=True)
class Lorenz84(SpaceFlow):
    """-ax - y² - z² + af, -y + xy - bxz + g, -z + bxy + xz."""

    a: float = 1.32
    b: float = 7.91
    f: float = 4.83
    g: float = 4.194
    period: float = 6.2586
    start: Start = _NEAR

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        turn = self.b * x
        return self.a * (self.f - x) - y * y - z * z, (x - 1) * y - turn * z + self.g, (x - 1) * z + turn * y


@dataclass(frozen=True, kw_only=True)
class SprottB(SpaceFlow):
    """yz, x - y, 1 - xy."""

    period: float = 11.05
    start: Start = _NEAR

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return y * z, x - y, 1 - x * y


@dataclass(frozen=True, kw_only=True)
class SprottE(SpaceFlow):
    """yz, x² - y, 1 - 4x."""

    period: float = 7.6275
    start: Start = _NEAR

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return y * z, x * x - y, 1 - 4 * x


@dataclass(frozen=True, kw_only=True)
class SprottK(SpaceFlow):
    """xy - z, x - y, x + az."""

    a: float = 0.3
    period: float = 7.006
    start: Start = _NEAR

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return x * y - z, x - y, x + self.a * z


@dataclass(frozen=True, kw_only=True)
class ShimizuMorioka(SpaceFlow):
    """y, x - ay - xz, -bz + x²."""

    a: float = 0.85
    b: float = 0.5
    period: float = 12.038
    start: Start = _NEAR

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return y, x - self.a * y - x * z, x * x - self.b * z


@dataclass(frozen=True, kw_only=True)
class Dadras(SpaceFlow):
    """y - px + oyz, ry - xz + z, cxy - ez."""

    p: float = 3.0
    o: float = 2.7
    r: float = 1.7
    c: float = 2.0
    e: float = 9.0
    period: float = 3.2886
    start: Start = (1.0, 1.0, 1.0)

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return y - self.p * x + self.o * y * z, self.r * y - x * z + z, self.c * x * y - self.e * z


@dataclass(frozen=True, kw_only=True)
class Hadley(Lorenz84):
    """The equations of `Lorenz84` at other parameters."""

    a: float = 0.2
    b: float = 4.0
    f: float = 9.0
    g: float = 1.0
    period: float = 1.4541


def _sin(x: Any) -> Any:
    return x.sin() if isinstance(x, Tensor) else np.sin(x)


SYSTEMS: tuple[type[Flow], ...] = (
    Lorenz, Rossler, Thomas, Halvorsen, Chen, Rucklidge, GenesioTesi, Arneodo, Lorenz84, SprottB, SprottE, SprottK,
    ShimizuMorioka, Dadras, Hadley,
)  # fmt: skip
"""The flows of this module; each is made without arguments."""
