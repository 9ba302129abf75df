"""Interacting particles in the plane: simulated, their scores learnt, and what an evaluation costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from entrokit.physics.active_matter import (
    ActiveOrnsteinUhlenbeck,
    ParticleScore,
    ParticleScoreTransformer,
    ScoreTrainer,
    SoftRepulsion,
    box_half_width,
    epr_by_coordinate,
    epr_without_score,
    score_matching_loss,
    simulate,
)

COUNT, MANY, PACKING, STEPS, REACH = 8, 64, 0.4, 400, 3.9
PAIR_STEPS = 600
SIZES = (4096, 8192, 16384, 32768)


def crowd(n: int) -> ActiveOrnsteinUhlenbeck:
    return ActiveOrnsteinUhlenbeck(
        half_width=box_half_width(n, PACKING),
        v0=1.0,
        gamma=1.0,
        epsilon=0.5,
        repulsion=SoftRepulsion(2.5, beta=3.0, cutoff=3.5),
    )


def states(n: int, boxes: int, frames: int, seed: int) -> Tensor:
    """``[frames · boxes, n, 4]`` in float32: five units of time to settle, one between frames, as propulsions last."""
    g = torch.Generator().manual_seed(seed)
    system = crowd(n)
    settled = simulate(system, system.start(boxes, n, g).float(), 1000, 0.005, every=1000, generator=g)[-1]
    return simulate(system, settled, frames * 200, 0.005, every=200, generator=g).flatten(0, 1)


def learnt(data: Tensor, seed: int) -> ParticleScore:
    """Two networks of one layer of 16 that see all others, by implicit score matching and the stationary residual."""
    system = crowd(COUNT)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        nets = [
            ParticleScoreTransformer(
                COUNT - 1, system.half_width, embed_dim=16, layers=1, heads=2, mlp_layers=1, reach=REACH
            )
            for _ in range(2)
        ]
    trainer = ScoreTrainer(
        ParticleScore(system, *nets),
        lambda score, z, _: score_matching_loss(score, z, system, system.diffusion, 1.0) / COUNT,
        steps=STEPS, lr=1e-2, batch=16, warmup=10, ema=0.98, seed=seed,
    )  # fmt: skip
    trainer.fit(data)
    return trainer.averaged


@dataclass(frozen=True)
class Rates:
    """Of a particle: by the learnt score, without one, and its standard error; ``local``: of each, ``[R, N]``."""

    learnt: float
    without: float
    error: float
    local: Tensor


def rates(score: ParticleScore, z: Tensor) -> Rates:
    n, diffusion = z.shape[1], score.system.diffusion
    with torch.no_grad():
        local = epr_by_coordinate(z, score.system, score, diffusion).sum(-1)
    without = epr_without_score(z, score.system, diffusion)
    return Rates(float(local.double().mean()), float(without.mean) / n, float(without.stderr) / n, local)


def pair_rates(seed: int) -> Rates:
    """Two particles on a ring: networks that see one neighbour see all that there is."""
    system = ActiveOrnsteinUhlenbeck(
        half_width=4.0, v0=1.0, gamma=1.0, epsilon=0.5, dim=1, repulsion=SoftRepulsion(2.5, beta=3.0, cutoff=REACH)
    )
    g = torch.Generator().manual_seed(seed)
    settled = simulate(system, system.start(1024, 2, g).float(), 500, 0.01, every=500, generator=g)[-1]
    data = simulate(system, settled, 400, 0.01, every=100, generator=g).flatten(0, 1)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        nets = [
            ParticleScoreTransformer(
                1, system.half_width, dimensions=1, embed_dim=16, layers=1, heads=2, mlp_layers=1, reach=REACH
            )
            for _ in range(2)
        ]
    trainer = ScoreTrainer(
        ParticleScore(system, *nets),
        lambda score, z, _: score_matching_loss(score, z, system, system.diffusion, 1.0) / 2,
        steps=PAIR_STEPS, lr=1e-2, batch=128, warmup=10, ema=0.98, seed=seed,
    )  # fmt: skip
    trainer.fit(data)
    return rates(trainer.averaged, data)


@cache
def untrained() -> ParticleScoreTransformer:
    """24 neighbours, two layers of 32: what an evaluation costs does not depend on what was learnt."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return ParticleScoreTransformer(24, 1.0, embed_dim=32, layers=2, heads=2, mlp_layers=1)


def seconds(n: int, seed: int) -> tuple[float, float]:
    """CPU seconds of the neighbours of ``n`` particles at a packing of 0.5, and of an evaluation with them."""
    half_width = box_half_width(n, 0.5)
    g = torch.Generator().manual_seed(seed)
    x = half_width * (2 * torch.rand(1, n, 2, generator=g) - 1)
    net, propulsion = untrained().in_box(half_width), torch.randn(1, n, 2, generator=g)
    with torch.no_grad():
        begin = time.process_time()
        net.neighborhoods(x, propulsion)
        near = time.process_time() - begin
        begin = time.process_time()
        net(x, propulsion)
    return near, time.process_time() - begin
