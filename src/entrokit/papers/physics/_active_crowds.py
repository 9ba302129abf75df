"""Interacting particles: simulated, their scores learnt, and what that says beside what needs no score."""

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
    denoising_loss,
    entropy_production_rate,
    epr_by_coordinate,
    epr_without_score,
    score_matching_loss,
    simulate,
)

# Mixed particles: noise in positions and propulsions.
COUNT, PACKING, PROPULSION, STEPS = 16, 0.4, 0.5, 400
# Clusters: no noise in positions, propulsions that last.
CLUSTERED, DENSE, CLUSTER_STEPS, DELTA = 256, 0.5, 400, 0.1
SIZES = (4096, 8192, 16384, 32768)


def mixed(n: int, packing: float, v0: float) -> ActiveOrnsteinUhlenbeck:
    return ActiveOrnsteinUhlenbeck(
        half_width=box_half_width(n, packing), v0=v0, gamma=0.5, epsilon=0.1, repulsion=SoftRepulsion(2.5, cutoff=3.0)
    )


def clustering(n: int, packing: float) -> ActiveOrnsteinUhlenbeck:
    return ActiveOrnsteinUhlenbeck(
        half_width=box_half_width(n, packing), v0=0.3, gamma=0.01, repulsion=SoftRepulsion(1.0, cutoff=3.0)
    )


def states(
    system: ActiveOrnsteinUhlenbeck, boxes: int, n: int, dt: float, first: int, every: int, frames: int, seed: int
) -> Tensor:
    """``frames`` states of each of ``boxes`` side by side after ``first`` steps, float32 ``[frames · boxes, n, 4]``."""
    g = torch.Generator().manual_seed(seed)
    settled = simulate(system, system.start(boxes, n, g).float(), first, dt, every=first, generator=g)[-1]
    return simulate(system, settled, frames * every, dt, every=every, generator=g).flatten(0, 1)


def mixed_states(n: int, packing: float, v0: float, boxes: int, frames: int, seed: int) -> Tensor:
    """Ten units of time to settle, two between frames; propulsions last for two."""
    return states(mixed(n, packing, v0), boxes, n, 0.005, 2000, 400, frames, seed)


def cluster_states(n: int, packing: float, boxes: int, frames: int, seed: int) -> Tensor:
    """500 units of time to settle, five times what propulsions last, and 30 between frames."""
    return states(clustering(n, packing), boxes, n, 0.1, 5000, 300, frames, seed)


@dataclass(frozen=True)
class Rates:
    """Entropy production a particle and unit of time: by the learnt score, and without one, with its standard error."""

    learnt: float
    without: float
    error: float


def mixed_score(v0: float, data: Tensor, seed: int) -> ParticleScore:
    """Two small networks of 14 neighbours, by implicit score matching with exact derivatives."""
    system = mixed(COUNT, PACKING, v0)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        nets = [
            ParticleScoreTransformer(
                14, system.half_width, embed_dim=16, layers=1, heads=2, mlp_layers=1, reach=3.0
            )
            for _ in range(2)
        ]  # fmt: skip
    trainer = ScoreTrainer(
        ParticleScore(system, *nets),
        lambda score, z, _: score_matching_loss(score, z) / COUNT,
        steps=STEPS, lr=5e-3, batch=8, warmup=10, ema=0.98, seed=seed,
    )  # fmt: skip
    trainer.fit(data)
    return trainer.averaged


def mixed_rates(score: ParticleScore, z: Tensor) -> Rates:
    """Of states ``[R, N, 4]`` of the score's system, by means over boxes."""
    n = z.shape[1]
    with torch.no_grad():
        learnt = entropy_production_rate(z, score.system, score, score.system.diffusion).mean
        without = epr_without_score(z, score.system, score.system.diffusion)
    return Rates(float(learnt) / n, float(without.mean) / n, float(without.stderr) / n)


def cluster_score(data: Tensor, seed: int) -> ParticleScore:
    """A network of 24 neighbours for propulsions alone, by denoising of 128 particles a step."""
    system = clustering(CLUSTERED, DENSE)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        net = ParticleScoreTransformer(
            24, system.half_width, embed_dim=32, layers=2, heads=2, mlp_layers=1, reach=3.0
        )  # fmt: skip
    delta = torch.tensor([0.0, 0.0, DELTA, DELTA])

    def loss(score: ParticleScore, z: Tensor, g: torch.Generator) -> Tensor:
        some = torch.randperm(z.shape[1], generator=g)[:128]
        return denoising_loss(score, z, delta, particles=some, generator=g) / 128

    trainer = ScoreTrainer(
        ParticleScore(system, net, None), loss, steps=CLUSTER_STEPS, lr=3e-3, batch=1, warmup=10, ema=0.98, seed=seed
    )
    trainer.fit(data)
    return trainer.averaged


@dataclass(frozen=True)
class Crowded:
    """Of clusters: the part of entropy that propulsions make, by the score and by -E[∇·F], and where it is made.

    ``local``: of every particle ``[R, N]``. ``squeezed``: -∇·F of every particle, ``[R, N]``.
    """

    rates: Rates
    local: Tensor
    squeezed: Tensor


def crowded(score: ParticleScore, z: Tensor) -> Crowded:
    """E|v_g|² / gamma = -E[∇_x·b_x] of a particle where positions have no noise, stationarity and parts integrated."""
    d = score.system.dimensions
    with torch.no_grad():
        parts = epr_by_coordinate(z, score.system, score, score.system.diffusion, noisy_only=True)
        squeezed = -score.system.with_diagonal(z)[1][..., :d].sum(-1)
    local, by_box = parts.sum(-1), squeezed.double().mean(1)
    rates = Rates(float(local.double().mean()), float(by_box.mean()), float(by_box.std() / len(by_box) ** 0.5))
    return Crowded(rates, local, squeezed)


@cache
def wide_score(width: int) -> ParticleScoreTransformer:
    """An untrained network of 24 neighbours: what an evaluation costs does not depend on what was learnt."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return ParticleScoreTransformer(24, 1.0, embed_dim=width, layers=2, heads=2, mlp_layers=1)


def seconds(n: int, seed: int) -> tuple[float, float]:
    """CPU seconds of an evaluation of ``n`` particles at a packing of 0.5: neighbours, and all."""
    half_width = box_half_width(n, DENSE)
    g = torch.Generator().manual_seed(seed)
    x = half_width * (2 * torch.rand(1, n, 2, generator=g) - 1)
    net, propulsion = wide_score(32).in_box(half_width), torch.randn(1, n, 2, generator=g)
    with torch.no_grad():
        begin = time.process_time()
        net.neighborhoods(x, propulsion)
        near = time.process_time() - begin
        begin = time.process_time()
        net(x, propulsion)
    return near, time.process_time() - begin
