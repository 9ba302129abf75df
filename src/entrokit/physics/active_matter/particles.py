"""Self-propelled particles in a periodic box: active Ornstein-Uhlenbeck and active Brownian ones.

arXiv 2309.12991. Positions x_i in [-L, L)^d and what drives them:

    dx_i = (v0 g_i + Σ_j F(x_i - x_j) - trap · x_i) dt + √(2 epsilon) dW,
    dg_i = -gamma g_i dt + √(2 gamma) dW'         (Ornstein-Uhlenbeck: g_i has the law N(0, I)), or
    g_i = (cos θ_i, sin θ_i),  dθ_i = √(2 gamma) dW'    (Brownian, in the plane).

A state is ``[B, N, c]``: positions first, then g (c = 2d) or θ (c = 3). A system is its own drift: call it, or give it
where a drift is asked for, beside `diffusion`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..arguments import as_count, check_generator
from .box import check_inside, uniform_or_clustered, wrap
from .checks import check_above, check_at_least, check_points
from .forces import SoftRepulsion

__all__ = ["ActiveBrownian", "ActiveOrnsteinUhlenbeck", "ActiveParticles"]


@dataclass(frozen=True, kw_only=True)
class ActiveParticles(ABC):
    """What both kinds share.

    Attributes:
        half_width: L of the box. v0: speed of propulsion. gamma: how fast it turns. epsilon: noise of positions, at
            least 0. trap: of a harmonic trap at the middle of the box. repulsion: between particles.
    """

    half_width: float
    v0: float
    gamma: float
    epsilon: float = 0.0
    trap: float = 0.0
    repulsion: SoftRepulsion = field(default_factory=SoftRepulsion)

    def __post_init__(self) -> None:
        check_above(half_width=self.half_width, gamma=self.gamma)
        check_at_least(v0=self.v0, epsilon=self.epsilon, trap=self.trap)
        self.repulsion.reach_in(self.half_width)

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """d."""

    @property
    @abstractmethod
    def coordinates(self) -> int:
        """c, of a particle's state."""

    @property
    def diffusion(self) -> Tensor:
        """The diagonal of D of every particle, ``[c]``: epsilon of its position, gamma of its propulsion."""
        moved = torch.full((self.coordinates,), self.gamma, dtype=torch.float64)
        moved[: self.dimensions] = self.epsilon
        return moved

    @abstractmethod
    def heading(self, z: Tensor) -> Tensor:
        """g of states ``[B, N, c]``, ``[B, N, d]``."""

    @abstractmethod
    def turning(self, z: Tensor) -> tuple[Tensor, float]:
        """The drift of what follows the positions, ``[B, N, c - d]``, and its derivative along itself."""

    @abstractmethod
    def turned(self, z: Tensor, dt: float, generator: torch.Generator | None) -> Tensor:
        """What follows the positions, ``dt`` later; exact in law."""

    @abstractmethod
    def start(self, batch: int, n: int, generator: torch.Generator | None = None) -> Tensor:
        """States ``[batch, n, c]`` in float64 to simulate from: positions as the paper has them, g from its own law."""

    def __call__(self, z: Tensor) -> Tensor:
        """The drift of states ``[B, N, c]``."""
        return self.with_diagonal(z)[0]

    def with_diagonal(self, z: Tensor, pairs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The drift and its derivative of every coordinate along itself, ``[B, N, c]`` each.

        Raises:
            TypeError, ValueError: states of another shape, not finite, or with particles outside of the box.
        """
        x = self.positions(z)
        pushed = self.repulsion(x, self.half_width, pairs)
        turning, slope = self.turning(z)
        along = self.v0 * self.heading(z) + pushed.force - self.trap * x
        diagonal = torch.cat([pushed.diagonal - self.trap, torch.full_like(turning, slope)], -1)
        return torch.cat([along, turning], -1), diagonal

    def positions(self, z: Tensor) -> Tensor:
        """x of states ``[B, N, c]``, ``[B, N, d]``.

        Raises:
            TypeError, ValueError: as `with_diagonal`.
        """
        if check_points(z).ndim != 3 or z.shape[2] != self.coordinates:
            raise ValueError(f"states [B, N, {self.coordinates}] are expected; their shape is {list(z.shape)}")
        return check_inside(z[..., : self.dimensions], self.half_width)

    def wrapped(self, z: Tensor) -> Tensor:
        """States ``[B, N, c]`` with their positions brought back into the box."""
        d = self.dimensions
        return torch.cat([wrap(z[..., :d], self.half_width), z[..., d:]], -1)

    def step(
        self, z: Tensor, dt: float, generator: torch.Generator | None = None, pairs: Tensor | None = None
    ) -> Tensor:
        """States ``[B, N, c]`` after ``dt``: positions by Euler and Maruyama, wrapped; propulsion exact in law.

        Raises:
            TypeError, ValueError: as `with_diagonal`; a generator that is none; ``dt`` in which a particle crosses more
                than half of the box, and which.
        """
        check_generator(generator)
        check_above(dt=dt)
        d = self.dimensions
        way = dt * self.with_diagonal(z, pairs)[0][..., :d]
        if self.epsilon:
            way = way + math.sqrt(2 * self.epsilon * dt) * _normal(way, generator)
        self._check_way(way, dt)
        return torch.cat([wrap(z[..., :d] + way, self.half_width), self.turned(z, dt, generator)], -1)

    def _check_way(self, way: Tensor, dt: float) -> None:
        far = (way.detach().abs() > self.half_width).any(-1)
        if bool(far.any()):
            row, particle = (int(i) for i in far.nonzero()[0])
            raise ValueError(
                f"{int(far.sum())} particles cross more than half of the box [-{self.half_width:.4g}, "
                f"{self.half_width:.4g}] in a step of dt = {dt:g}, the first is number {particle} of row {row}, by "
                f"{float(way[row, particle].abs().max()):.4g}; shorten dt, or soften the repulsion"
            )

    def packing(self, n: int) -> float:
        """The share of the box that ``n`` particles would fill, if they were apart, in the plane."""
        return n * math.pi * self.repulsion.radius**2 / (2 * self.half_width) ** 2


@dataclass(frozen=True, kw_only=True)
class ActiveOrnsteinUhlenbeck(ActiveParticles):
    """States ``[B, N, 2d]``: positions, then propulsions g. Without force and trap σ = N d v0² / epsilon."""

    dim: int = 2

    @property
    def dimensions(self) -> int:
        return self.dim

    @property
    def coordinates(self) -> int:
        return 2 * self.dim

    def heading(self, z: Tensor) -> Tensor:
        return z[..., self.dim :]

    def turning(self, z: Tensor) -> tuple[Tensor, float]:
        return -self.gamma * z[..., self.dim :], -self.gamma

    def turned(self, z: Tensor, dt: float, generator: torch.Generator | None) -> Tensor:
        g = z[..., self.dim :]
        return math.exp(-self.gamma * dt) * g + math.sqrt(-math.expm1(-2 * self.gamma * dt)) * _normal(g, generator)

    def start(self, batch: int, n: int, generator: torch.Generator | None = None) -> Tensor:
        shape = (as_count("batch", batch), as_count("n", n), self.dim)
        x = uniform_or_clustered(shape, self.half_width, self.packing(n), generator)
        return torch.cat([x, torch.randn(shape, dtype=torch.float64, generator=generator)], -1)


@dataclass(frozen=True, kw_only=True)
class ActiveBrownian(ActiveParticles):
    """States ``[B, N, 3]`` in the plane: positions, then the angle θ in [-π, π]. Alone, σ = N v0² / epsilon."""

    @property
    def dimensions(self) -> int:
        return 2

    @property
    def coordinates(self) -> int:
        return 3

    def heading(self, z: Tensor) -> Tensor:
        return torch.cat([z[..., 2:].cos(), z[..., 2:].sin()], -1)

    def turning(self, z: Tensor) -> tuple[Tensor, float]:
        return torch.zeros_like(z[..., 2:]), 0.0

    def turned(self, z: Tensor, dt: float, generator: torch.Generator | None) -> Tensor:
        angle = z[..., 2:]
        return wrap(angle + math.sqrt(2 * self.gamma * dt) * _normal(angle, generator), math.pi)

    def start(self, batch: int, n: int, generator: torch.Generator | None = None) -> Tensor:
        batch, n = as_count("batch", batch), as_count("n", n)
        x = uniform_or_clustered((batch, n, 2), self.half_width, self.packing(n), generator)
        turn = torch.rand(batch, n, 1, dtype=torch.float64, generator=generator)
        return torch.cat([x, math.pi * (2 * turn - 1)], -1)


def _normal(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
