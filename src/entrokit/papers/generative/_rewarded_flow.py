"""A flow over eight modes, pretrained, then tuned to a reward that likes one of them: by AWM and by DDPO."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from entrokit.generative.awm import (
    AWMLoss,
    Trajectory,
    ddpo_step_logp,
    group_advantages,
    interpolate,
    sample_ode,
    sample_sde,
)
from entrokit.generative.flow_entropy import flow_entropy
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.sample_entropy import knn_entropy

from ._training import fitted

PRETRAINING, ITERATIONS, SAMPLES, STEPS, TIMES = 6000, 200, 512, 20, 4
# Of the SDE that DDPO samples from.
NOISE_LEVEL = 0.7
EVALUATED, EVERY = 2000, 20
RING = GaussianMixture.circle()


class Velocity(nn.Module):
    """Three layers of 64."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(64, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        velocity: Tensor = self.net(torch.cat([x, t[:, None]], 1))
        return velocity


@dataclass(frozen=True)
class Course:
    """How tuning went, at iteration 0 and every `EVERY` after it, on fresh samples of the ODE.

    Attributes:
        reward: mean. entropy: nats, by neighbours. near: share of samples within three standard deviations of a mode.
        exact: nats, of the flow itself, at the start and at the end.
    """

    reward: list[float]
    entropy: list[float]
    near: list[float]
    exact: tuple[float, float]


def reward(x: Tensor) -> Tensor:
    """1 on the right half, less a tenth of the distance to the first mode."""
    distance: Tensor = torch.linalg.vector_norm(x - RING.means[0], dim=1)
    return (x[:, 0] > 0).to(x.dtype) - 0.1 * distance


@cache
def pretrained(seed: int) -> Velocity:
    """Flow matching."""
    torch.manual_seed(seed)
    model = Velocity()

    def matching() -> Tensor:
        x0, noise, t = RING.sample(256), torch.randn(256, 2), torch.rand(256)
        loss: Tensor = (model(interpolate(x0, noise, t), t) - (noise - x0)).square().mean()
        return loss

    return fitted(model, matching, PRETRAINING)


def matching_update(model: Velocity, reference: Velocity, loss: AWMLoss) -> Tensor:
    """AWM's loss on fresh samples."""
    x0 = sample_ode(model, torch.randn(SAMPLES, 2), STEPS)
    t = 0.02 + 0.96 * torch.rand(SAMPLES, TIMES)
    noise = torch.randn(SAMPLES, TIMES, 2)
    value: Tensor = loss(model, reference, x0, group_advantages(reward(x0)), t, noise)[0]
    return value


def step_update(model: Velocity) -> Tensor:
    """DDPO's loss on fresh samples: `TIMES` of a trajectory's steps, drawn without replacement."""
    found = sample_sde(model, torch.randn(SAMPLES, 2), STEPS, NOISE_LEVEL)
    advantages = group_advantages(reward(found.samples))
    drawn = torch.rand(SAMPLES, STEPS).argsort(1)[:, :TIMES]
    return -(advantages[:, None] * _logp_of_steps(model, found, drawn) / 2).mean()


def _logp_of_steps(model: Velocity, found: Trajectory, drawn: Tensor) -> Tensor:
    row = torch.arange(SAMPLES)[:, None].expand_as(drawn)
    x_t, x_next = found.states[drawn, row].flatten(0, 1), found.states[drawn + 1, row].flatten(0, 1)
    t = found.times[drawn].flatten()
    return ddpo_step_logp(model(x_t, t), x_t, x_next, t, found.dt, NOISE_LEVEL).reshape(drawn.shape)


@cache
def tuned(seed: int, beta: float | None) -> Course:
    """Tuning by AWM with this pull to the reference, or by DDPO without one (None)."""
    reference = pretrained(seed)
    model = copy.deepcopy(reference).requires_grad_(True)
    torch.manual_seed(1000 + seed)
    update = updater(model, reference, beta)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    reached = [_look(model)]
    exact = [_exact(model)]
    for i in range(1, ITERATIONS + 1):
        optimizer.zero_grad()
        update().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if i % EVERY == 0:
            reached.append(_look(model))
    exact.append(_exact(model))
    rewards, entropies, near = (list(column) for column in zip(*reached, strict=True))
    return Course(rewards, entropies, near, (exact[0], exact[1]))


def updater(model: Velocity, reference: Velocity, beta: float | None) -> Callable[[], Tensor]:
    """The loss of an iteration, on samples of its own."""
    if beta is None:
        return lambda: step_update(model)
    loss = AWMLoss(beta=beta)
    return lambda: matching_update(model, reference, loss)


def _look(model: Velocity) -> tuple[float, float, float]:
    x = sample_ode(model, torch.randn(EVALUATED, 2), STEPS)
    near = torch.cdist(x, RING.means).min(1).values < 3 * float(RING.stds[0])
    return float(reward(x).mean()), knn_entropy(x), float(near.double().mean())


def _exact(model: Velocity) -> float:
    try:
        return flow_entropy(lambda x, t: model.double()(x, t), torch.randn(EVALUATED, 2, dtype=torch.float64), STEPS)
    except ValueError:
        # A flow whose steps fold space has no entropy of this form.
        return float("nan")
    finally:
        model.float()


def noise_to_signal(seed: int, beta: float | None, repeats: int = 100) -> float:
    """``E |g - mean g|² / |mean g|²`` of an update's gradient at the pretrained flow, over fresh samples.

    The squared mean is freed of the share of the noise that ``repeats`` leave in it.
    """
    model = copy.deepcopy(pretrained(seed)).requires_grad_(True)
    torch.manual_seed(2000 + seed)
    update = updater(model, pretrained(seed), beta)
    total, squares = torch.zeros(()), 0.0
    for _ in range(repeats):
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(update(), list(model.parameters()))]).double()
        total, squares = total + gradient, squares + float(gradient.square().sum())
    mean = total / repeats
    noise = (squares - repeats * float(mean.square().sum())) / (repeats - 1)
    return noise / (float(mean.square().sum()) - noise / repeats)
