"""Systems of active particles, and tensors, that several files of tests look at."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entrokit.physics.active_matter import (
    ActiveOrnsteinUhlenbeck,
    ParticleScore,
    ParticleScoreTransformer,
    SoftRepulsion,
    simulate,
)


def float64(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


ROTATING = float64([[1.0, -2.0], [2.0, 1.0]]), 0.5
TRAP = float64([[1.0, -1.0], [0.0, 0.5]]), float64([0.2, 0.5])
THREE = float64([[2, -0.5, 0.3], [0.4, 1, 0], [-0.2, 0.6, 1.5]]), float64([0.3, 0.5, 1.0])


def crowd(n: int = 12, *, half_width: float = 4.0, v0: float = 0.5, epsilon: float = 0.1, **others):
    """A box with many contacts, and states of it ``[2, n, 4]`` that have been simulated for a little."""
    system = ActiveOrnsteinUhlenbeck(
        half_width=half_width, v0=v0, gamma=0.1, epsilon=epsilon, repulsion=SoftRepulsion(2.5, cutoff=3.0), **others
    )
    return system, simulate(system, system.start(2, n, seeded()), 30, 0.02, every=30, generator=seeded(1))[-1]


def small_net(n_neighbors: int = 11, *, reach: float | None = 3.5, seed: int = 0) -> ParticleScoreTransformer:
    torch.manual_seed(seed)
    return ParticleScoreTransformer(
        n_neighbors, 4.0, embed_dim=8, layers=2, heads=2, mlp_layers=1, reach=reach, chunk=7
    ).double()


def small_score(system, n_neighbors: int = 11, *, reach: float | None = 3.5) -> ParticleScore:
    net_x = small_net(n_neighbors, reach=reach, seed=1) if system.epsilon else None
    return ParticleScore(system, small_net(n_neighbors, reach=reach), net_x)


MATRIX = float64([[0.5, -1.2, 0.3], [0.7, 1.5, -0.4], [-0.2, 0.9, -1.1]])


def linear(x):
    return x @ MATRIX.mT


def cubic(x):
    return x**3 + x.flip(-1)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 2)).double()


def scattered(batch, n, half_width, dimensions=2, seed=0):
    g = seeded(seed)
    return half_width * (2 * torch.rand(batch, n, dimensions, dtype=torch.float64, generator=g) - 1)
