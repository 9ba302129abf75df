"""Scores of known laws, learnt from samples, and what they say of entropy production."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entrokit.physics.active_matter import (
    OUReference,
    ScoreTrainer,
    SwirlingDoubleWell,
    entropy_production_rate,
    epr_by_coordinate,
    estimate,
    local_epr,
    ou_reference,
    score_matching_loss,
)

SAMPLES, RATE, BATCH, EMA = 20_000, 2e-3, 512, 0.99
HELD_OUT, WELL_HELD_OUT, WELL_STEPS = 200_000, 400_000, 800


@dataclass(frozen=True)
class Linear:
    """dX = -A X dt + √(2 diag(D)) dW, and for how many steps its score is trained."""

    A: tuple[tuple[float, ...], ...]
    D: tuple[float, ...]
    steps: int

    def exact(self) -> OUReference:
        return ou_reference(torch.tensor(self.A, dtype=torch.float64), torch.tensor(self.D, dtype=torch.float64))


LINEAR = {
    "trap": Linear(((1.0, -1.0), (0.0, 0.5)), (0.2, 0.5), 1500),
    "rotation": Linear(((1.0, -2.0), (2.0, 1.0)), (0.5, 0.5), 800),
    "three": Linear(((2.0, -0.5, 0.3), (0.4, 1.0, 0.0), (-0.2, 0.6, 1.5)), (0.3, 0.5, 1.0), 1500),
}


@dataclass(frozen=True)
class Learnt:
    """What a learnt score says on fresh samples: the rate, its parts, and the rate of the exact score on the same."""

    rate: float
    parts: list[float]
    exact: float


def network(dimensions: int, seed: int) -> nn.Sequential:
    """Two layers of 64, with weights of the seed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(dimensions, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, dimensions)
        )


def linear(name: str, seed: int) -> Learnt:
    """The score of a linear system, by implicit score matching alone."""
    system, exact = LINEAR[name], LINEAR[name].exact()
    g = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(exact.cov)
    drawn = torch.randn(SAMPLES + HELD_OUT, len(root), dtype=torch.float64, generator=g) @ root.mT
    data, held = drawn.float().split([SAMPLES, HELD_OUT])
    trainer = ScoreTrainer(
        network(len(root), seed),
        lambda score, x, _: score_matching_loss(score, x),
        steps=system.steps, lr=RATE, batch=BATCH, ema=EMA, seed=seed,
    )  # fmt: skip
    trainer.fit(data)
    A, D, S = (torch.as_tensor(v).float() for v in (system.A, system.D, exact.score_matrix))

    def drift(x: Tensor) -> Tensor:
        return -x @ A.mT

    with torch.no_grad():
        parts = estimate(epr_by_coordinate(held, drift, trainer.averaged, D)).mean
        own = entropy_production_rate(held, drift, lambda x: x @ S.mT, D).mean
    return Learnt(float(parts.sum()), parts.tolist(), float(own))


@dataclass(frozen=True)
class Mapped:
    """Of the double well: rate over the exact one on the same samples, correlation of local rates, error of the score.

    ``error`` is E|s - s*|² / E|s*|².
    """

    ratio: float
    correlation: float
    error: float


def double_well(seed: int, lam_pde: float) -> Mapped:
    """The score of the swirling double well, with or without the stationary equation's residual."""
    well = SwirlingDoubleWell()
    g = torch.Generator().manual_seed(seed)
    data, held = (well.sample(count, g).float() for count in (SAMPLES, WELL_HELD_OUT))
    trainer = ScoreTrainer(
        network(2, seed),
        lambda score, x, _: score_matching_loss(score, x, well.drift, 1.0, lam_pde),
        steps=WELL_STEPS, lr=RATE, batch=BATCH, ema=EMA, seed=seed,
    )  # fmt: skip
    trainer.fit(data)
    score = trainer.averaged
    with torch.no_grad():
        own, exact = (local_epr(held, well.drift, of, 1.0).double() for of in (score, well.score))
        right = well.score(held)
        error = (score(held) - right).square().sum() / right.square().sum()
    correlation = torch.corrcoef(torch.stack([own, exact]))[0, 1]
    return Mapped(float(own.mean() / exact.mean()), float(correlation), float(error))
