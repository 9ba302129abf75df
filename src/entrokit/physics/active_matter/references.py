"""Stationary laws whose score, flow and entropy production are known: what a learnt score is held to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from entrokit.extras import require

from ..arguments import as_count, check_generator
from .checks import check_above

__all__ = ["DrivenRing", "OUReference", "SwirlingDoubleWell", "ou_reference"]


# Of the force to the diffusion: up to here 192 nodes are right to 1e-10 everywhere.
_RESOLVED = 200


@dataclass(frozen=True)
class OUReference:
    """The stationary law of dX = -A X dt + √(2D) dW, in float64.

    Attributes:
        cov: Σ, ``[n, n]``. score_matrix, v_matrix: -Σ⁻¹ and -A + D Σ⁻¹, ``[n, n]``; s and v are their products with x.
        epr: nats per unit of time. epr_by_coordinate: ``[n]``, which adds up to ``epr``; E[v_k²] / D_k where D is
            diagonal.
    """

    cov: Tensor
    score_matrix: Tensor
    v_matrix: Tensor
    epr: float
    epr_by_coordinate: Tensor


def ou_reference(A: Tensor, D: Tensor | float) -> OUReference:
    """The stationary law of dX = -A X dt + √(2D) dW in any dimension, by A Σ + Σ Aᵀ = 2D, in float64.

    v(x) = (-A + D Σ⁻¹) x and σ = tr(D⁻¹ V Σ Vᵀ), of coordinate k the k-th entry of that diagonal.

    Args:
        A: ``[n, n]``, eigenvalues with positive real parts. D: a number, a diagonal ``[n]``, or a matrix ``[n, n]``.

    Raises:
        ValueError: of other shapes, not finite, A without a stationary law, or D that is not symmetric with positive
            eigenvalues: without noise in a direction there is no D⁻¹.
    """
    require("a stationary covariance", "physics")
    from scipy.linalg import solve_continuous_lyapunov

    # A float is float32 to torch, and float64 to NumPy.
    given = [matrix if isinstance(matrix, Tensor) else torch.as_tensor(np.array(matrix)) for matrix in (A, D)]
    if given[0].is_complex() or given[1].is_complex():
        raise ValueError("A and D are real; a complex motion is one of twice as many coordinates")
    pull, spread = (matrix.detach().double().cpu() for matrix in given)
    if pull.ndim != 2 or pull.shape[0] != pull.shape[1] or not len(pull):
        raise ValueError(f"A is a square matrix [n, n]; its shape is {list(pull.shape)}")
    if spread.ndim < 2 and spread.shape in ((), (len(pull),)):
        spread = torch.diag(spread.expand(len(pull)))
    if spread.shape != pull.shape:
        raise ValueError(f"D is a number, [{len(pull)}] or {list(pull.shape)}; its shape is {list(spread.shape)}")
    for name, matrix in (("A", pull), ("D", spread)):
        if not bool(matrix.isfinite().all()):
            raise ValueError(f"{name} is not finite")
    least = float(torch.linalg.eigvals(pull).real.min())
    if least <= 0:
        raise ValueError(f"A has an eigenvalue of real part {least:.4g}: the motion has no stationary law")
    if not torch.allclose(spread, spread.mT) or float(torch.linalg.eigvalsh(spread).min()) <= 0:
        raise ValueError("D is symmetric with eigenvalues above 0: without noise in a direction there is no D⁻¹")
    cov = torch.from_numpy(solve_continuous_lyapunov(pull.numpy(), 2 * spread.numpy()))
    score = -torch.linalg.inv(cov)
    v = -pull - spread @ score
    shares = (torch.linalg.solve(spread, v) @ cov @ v.mT).diagonal()
    return OUReference(cov, score, v, float(shares.sum()), shares.clone())


@dataclass(frozen=True)
class DrivenRing:
    """dx = (force + amplitude sin x) dt + √(2 diffusion) dW on a circle of length 2π; points are ``[B, 1]``.

    The current j is the same everywhere, v = j / ρ is not: ∇·v and v·s vanish at no point of their own, unlike those of
    every Ornstein-Uhlenbeck process.

    Raises:
        ValueError: numbers that are none; (|force| + |amplitude|) / diffusion above 200, whose layers the quadrature
            does not resolve.
    """

    force: float = 0.7
    amplitude: float = 1.5
    diffusion: float = 1.0

    def __post_init__(self) -> None:
        check_above(diffusion=self.diffusion)
        ratio = (abs(self.force) + abs(self.amplitude)) / self.diffusion
        if not ratio <= _RESOLVED:
            raise ValueError(
                f"(|force| + |amplitude|) / diffusion is at most {_RESOLVED}, which the quadrature resolves; it is "
                f"{ratio:g}"
            )

    def drift(self, x: Tensor) -> Tensor:
        return self.force + self.amplitude * x.sin()

    def density(self, x: Tensor) -> Tensor:
        return self._unnormalised(x) / self._total

    def score(self, x: Tensor) -> Tensor:
        return (self.drift(x) - self.flow(x)) / self.diffusion

    def flow(self, x: Tensor) -> Tensor:
        """v = j / ρ."""
        return self.current / self.density(x)

    @cached_property
    def current(self) -> float:
        """j, laps of the circle per unit of time."""
        laps = -self.diffusion * math.expm1(-2 * math.pi * abs(self.force) / self.diffusion) / self._total
        return math.copysign(laps, self.force)

    @property
    def epr(self) -> float:
        """2π j · force / diffusion: what the force puts in."""
        return 2 * math.pi * self.current * self.force / self.diffusion

    @cached_property
    def _total(self) -> float:
        grid = torch.arange(512, dtype=torch.float64)[:, None] * (2 * math.pi / 512)
        return float(self._unnormalised(grid).mean()) * 2 * math.pi

    def _unnormalised(self, x: Tensor) -> Tensor:
        """∫ exp((V(x + y) - V(x)) / D) dy over one lap, V the potential of the drift, by Gauss and Legendre."""
        # Where the force points back it is the mirror image; else the exponential overflows.
        x = x if self.force >= 0 else -x
        nodes, weights = (torch.from_numpy(v).to(x) for v in np.polynomial.legendre.leggauss(192))
        y = math.pi * (nodes + 1)
        rise = -abs(self.force) * y + self.amplitude * ((x[..., None] + y).cos() - x[..., None].cos())
        return math.pi * (weights * (rise / self.diffusion).exp()).sum(-1)


@dataclass(frozen=True)
class SwirlingDoubleWell:
    """U = (x² - 1)² + y² / 2, D = 1 and b = -∇U + swirl · J ∇U, J a quarter turn; points are ``[B, 2]``.

    J ∇U has no divergence and runs along the levels of U, so the law stays e^{-U} whatever the swirl. It is no
    Gaussian; v = swirl · J ∇U, and σ(x) = swirl² |∇U|².
    """

    swirl: float = 1.5
    diffusion: float = 1.0

    def __post_init__(self) -> None:
        if self.diffusion != 1.0:
            raise ValueError(f"the law is e^(-U) at a diffusion of 1; it is {self.diffusion}")

    def score(self, x: Tensor) -> Tensor:
        return -torch.stack([4 * x[:, 0] * (x[:, 0].square() - 1), x[:, 1]], 1)

    def flow(self, x: Tensor) -> Tensor:
        s = self.score(x)
        return self.swirl * torch.stack([s[:, 1], -s[:, 0]], 1)

    def drift(self, x: Tensor) -> Tensor:
        return self.score(x) + self.flow(x)

    @property
    def epr(self) -> float:
        """swirl² E[ΔU], and ΔU = 12 x² - 3."""
        grid, weight = self._first_coordinate
        return self.swirl**2 * (12 * float((weight * grid.square()).sum()) - 3)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent points of the law, ``[count, 2]`` in float64: x by its distribution function, y normal."""
        count = as_count("count", count)
        check_generator(generator)
        grid, weight = self._first_coordinate
        below = np.concatenate([[0.0], weight.cumsum(0)[:-1].numpy() + weight[1:].numpy() / 2])
        u = torch.rand(count, dtype=torch.float64, generator=generator).numpy()
        x = torch.from_numpy(np.interp(u, below, grid.numpy()))
        return torch.stack([x, torch.randn(count, dtype=torch.float64, generator=generator)], 1)

    @cached_property
    def _first_coordinate(self) -> tuple[Tensor, Tensor]:
        grid = torch.linspace(-3.5, 3.5, 4001, dtype=torch.float64)
        return grid, (-(grid.square() - 1).square()).softmax(0)
