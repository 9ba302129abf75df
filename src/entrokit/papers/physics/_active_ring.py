"""Two swimmers on a ring, by their difference: what the paper begins with, and small enough to be learnt in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entrokit.physics.active_matter import (
    ScoreTrainer,
    SoftRepulsion,
    epr_by_coordinate,
    epr_without_score,
    score_matching_loss,
    wrap,
)

from ._active_scores import network

HALF_WIDTH, GAMMA, EPSILON = 4.0, 1.0, 0.5
REPULSION = SoftRepulsion(2.5, beta=3.0, cutoff=HALF_WIDTH)
STEPS, RATE, BATCH, EMA = 800, 3e-3, 512, 0.98
DT, SETTLE, EVERY, FRAMES, RUNS = 0.01, 500, 100, 10, 8192
DIFFUSION = torch.tensor([EPSILON, GAMMA])


@dataclass(frozen=True)
class Swimmers:
    """dx = (v0 g + F(x)) dt + √(2 epsilon) dW, dg = -gamma g dt + √(2 gamma) dW'; points are ``[B, 2]``."""

    v0: float

    def force(self, x: Tensor) -> Tensor:
        return REPULSION.strength(x.abs()) * x.sign()

    def drift(self, z: Tensor) -> Tensor:
        return torch.stack([self.v0 * z[:, 1] + self.force(z[:, 0]), -GAMMA * z[:, 1]], 1)

    def sample(self, seed: int) -> Tensor:
        """Ten states of each of 8,192 runs, a unit of time apart: five of them let each run settle."""
        g = torch.Generator().manual_seed(seed)
        x, push = HALF_WIDTH * (2 * torch.rand(RUNS, generator=g) - 1), torch.randn(RUNS, generator=g)
        kept, frames = math.exp(-GAMMA * DT), []
        for step in range(1, SETTLE + FRAMES * EVERY + 1):
            noise = torch.randn(2, RUNS, generator=g)
            x = wrap(x + DT * (self.v0 * push + self.force(x)) + math.sqrt(2 * EPSILON * DT) * noise[0], HALF_WIDTH)
            push = kept * push + math.sqrt(1 - kept**2) * noise[1]
            if step > SETTLE and (step - SETTLE) % EVERY == 0:
                frames.append(torch.stack([x, push], 1))
        return torch.cat(frames)


class RingScore(nn.Module):
    """(F / epsilon, -g) and what a network adds to it, which sees x by its angle."""

    def __init__(self, swimmers: Swimmers, seed: int) -> None:
        super().__init__()
        self.swimmers = swimmers
        self.net = network(3, seed)

    def forward(self, z: Tensor) -> Tensor:
        angle = z[:, 0] * (math.pi / HALF_WIDTH)
        seen = torch.stack([angle.cos(), angle.sin(), z[:, 1]], 1)
        known = torch.stack([self.swimmers.force(z[:, 0]) / EPSILON, -z[:, 1]], 1)
        added: Tensor = self.net(seen)
        return known + added[:, :2]


@dataclass(frozen=True)
class Learnt:
    """Rates by the learnt score and without one, and the latter's standard error.

    ``by_place``: means of local rates in bins of x, NaN where nobody was.
    """

    rate: float
    without: float
    error: float
    by_place: list[float]


def swimmers(v0: float, seed: int, bins: int = 32) -> Learnt:
    pair = Swimmers(v0)
    data = pair.sample(seed)
    trainer = ScoreTrainer(
        RingScore(pair, seed),
        lambda score, z, _: score_matching_loss(score, z, pair.drift, DIFFUSION, 1.0),
        steps=STEPS, lr=RATE, batch=BATCH, ema=EMA, seed=seed,
    )  # fmt: skip
    trainer.fit(data)
    with torch.no_grad():
        local = epr_by_coordinate(data, pair.drift, trainer.averaged, DIFFUSION).sum(1).double()
    without = epr_without_score(data, pair.drift, DIFFUSION)
    place = ((data[:, 0] / HALF_WIDTH + 1) * bins / 2).long().clamp(0, bins - 1)
    count = torch.bincount(place, minlength=bins)
    total = torch.zeros(bins, dtype=torch.float64).index_add(0, place, local)
    means = torch.where(count > 0, total / count.clamp(min=1), math.nan)
    return Learnt(float(local.mean()), float(without.mean), float(without.stderr), means.tolist())
