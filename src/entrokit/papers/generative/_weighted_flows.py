"""Flows of a small network between two laws in the plane, by one matcher or another, and what they are measured by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.transport import integrate, normalised_path_energy, wasserstein2
from entrokit.generative.weighted_flow import weighted_flow_loss

BATCH, RATE = 256, 2e-3
# Points of the distance between the laws, of that between samples and target, and of energies and shares.
APART, COMPARED, FLOWN = 1500, 1000, 4000

Draw = Callable[[int, torch.Generator], Tensor]
Matched = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Laws:
    """A source and a target, as samplers ``(count, generator) -> [count, 2]``."""

    source: Draw
    target: Draw


@dataclass(frozen=True)
class HeldOut:
    """Samples that every flow of a seed is measured on.

    ``apart`` is W2 between the laws, ``floor`` W2 between two samples of the target: what a perfect flow would have.
    """

    start: Tensor
    target: Tensor
    apart: float
    floor: float


@dataclass(frozen=True)
class Measured:
    """Of one flow: mean path energy, W2 to the target in 50 midpoint steps and in four of Euler, and its end points."""

    energy: float
    w2: float
    w2_euler: float
    points: Tensor
    held: HeldOut

    @property
    def npe(self) -> float:
        return normalised_path_energy(self.energy, self.held.apart)


class Velocity(nn.Module):
    """Three hidden layers of 64 SELUs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, 64), nn.SELU(), nn.Linear(64, 64), nn.SELU(), nn.Linear(64, 64), nn.SELU(), nn.Linear(64, 2)
        )

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.net(torch.cat([x, t[:, None]], 1))
        return out


def gaussian(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, 2, generator=generator)


def circle(radius: float, std: float) -> Draw:
    return GaussianMixture.circle(8, radius, std).sample


def moons(count: int, generator: torch.Generator) -> Tensor:
    """Two half circles, noise of 0.2, times 3 less 1: torchcfm's ``sample_moons``."""
    angle = math.pi * torch.rand(count, generator=generator)
    upper = torch.rand(count, generator=generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return 3 * (torch.stack([x, y], 1) + 0.2 * torch.randn(count, 2, generator=generator)) - 1


def peer(name: str) -> Callable[[Tensor, Tensor], Matched]:
    """A matcher of torchcfm; its pairs all have weight 1.

    Raises:
        RuntimeError: torchcfm is not installed.
    """
    try:
        from torchcfm import conditional_flow_matching
    except ImportError:
        raise RuntimeError("the peers are torchcfm's: pip install --no-deps torchcfm==1.0.7") from None
    matcher: Any = getattr(conditional_flow_matching, name)()

    def sample(x0: Tensor, x1: Tensor) -> Matched:
        t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)
        return t, xt, ut, torch.ones(len(x0))

    return sample


def train(sample: Callable[[Tensor, Tensor], Matched], laws: Laws, seed: int, steps: int) -> Velocity:
    """Adam, its rate on a cosine to 0. Equal seeds have the same first weights and data, whoever matches."""
    data = torch.Generator().manual_seed(seed)
    with _seeded(seed):
        model = Velocity()
        optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            t, xt, ut, weight = sample(laws.source(BATCH, data), laws.target(BATCH, data))
            loss = weighted_flow_loss(model(t, xt), ut, weight)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return model


def held_out(laws: Laws, seed: int) -> HeldOut:
    g = torch.Generator().manual_seed(10_000 + seed)
    start, target, other = laws.source(FLOWN, g), laws.target(APART, g), laws.target(COMPARED, g)
    apart = wasserstein2(start[:APART], target)
    return HeldOut(start, target[:COMPARED], apart, wasserstein2(other, target[:COMPARED]))


def measure(model: Velocity, held: HeldOut) -> Measured:
    flowed = integrate(model, held.start)
    jumped = integrate(model, held.start[:COMPARED], 4, "euler")
    return Measured(
        energy=flowed.energy,
        w2=wasserstein2(flowed.points[:COMPARED], held.target),
        w2_euler=wasserstein2(jumped.points, held.target),
        points=flowed.points,
        held=held,
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torchcfm draws from the global generators of torch and numpy."""
    before = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            np.random.seed(seed)
            yield
    finally:
        np.random.set_state(before)
