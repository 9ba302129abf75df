"""A class-conditional network that learns the noise of a ring of modes, and its guidance, whose exact law is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from entrokit.generative.feynman_kac import FKCSampler, cfg, time_grid
from entrokit.generative.mixtures import GaussianMixture

from ._known_combinations import END, VP
from ._training import fitted

Score = Callable[[Tensor, Tensor], Tensor]

UPDATES, BATCH, SAMPLES, STEPS, SCALE = 4000, 256, 8000, 150, 3.0
CELLS, SIDE = 24, 6.0
# Class 0 is the right half of the ring; 1 the left; 2 stands for neither.
CLASSES, NEITHER = 2, 2
RING = GaussianMixture.circle(8, radius=3.0, std=0.4, dtype=torch.float64)
RIGHT = torch.tensor([0, 1, 2, 7])
HALF = GaussianMixture(torch.full((4,), 0.25, dtype=torch.float64), RING.means[RIGHT], RING.stds[RIGHT])
CLASS_OF_MODE = torch.ones(8, dtype=torch.long).index_fill(0, RIGHT, 0)


class Noise(nn.Module):
    """Three layers of 96."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(CLASSES + 1, 8)
        layers = [nn.Linear(13, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(96, 2))

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        sigma = VP.sigma(t)[:, None]
        clock = torch.cat([t[:, None], sigma, sigma.log()], 1)
        found: Tensor = self.net(torch.cat([x, clock, self.label(label)], 1))
        return found


@cache
def trained(seed: int) -> Noise:
    """Denoising with a tenth of the labels dropped."""
    torch.manual_seed(seed)
    model, means = Noise(), RING.means.float()

    def denoising() -> Tensor:
        mode = torch.randint(8, (BATCH,))
        label = torch.where(torch.rand(BATCH) < 0.1, NEITHER, CLASS_OF_MODE[mode])
        x0, noise = means[mode] + 0.4 * torch.randn(BATCH, 2), torch.randn(BATCH, 2)
        t = END + (1 - END) * torch.rand(BATCH)
        x = VP.alpha(t)[:, None] * x0 + VP.sigma(t)[:, None] * noise
        loss: Tensor = (model(x, t, label) - noise).square().mean()
        return loss

    return fitted(model, denoising, UPDATES)


def guided_shares() -> Tensor:
    """Of `CELLS` ** 2 squares of [-`SIDE`, `SIDE`]², under q ** (1 - `SCALE`) q(· | right) ** `SCALE` at the end."""
    inside = 5
    edge = (torch.arange(CELLS * inside, dtype=torch.float64) + 0.5) * (2 * SIDE / (CELLS * inside)) - SIDE
    points = torch.cartesian_prod(edge, edge)
    exponents = cfg(SCALE)
    density = sum(b * law.noised_by(VP, END).log_prob(points) for b, law in zip(exponents, (RING, HALF), strict=True))
    assert isinstance(density, Tensor)
    return density.softmax(0).reshape(CELLS, inside, CELLS, inside).sum((1, 3)).flatten()


def distance(x: Tensor, shares: Tensor) -> float:
    """Total variation of samples ``[K, 2]`` against `guided_shares`."""
    index = ((x.double() + SIDE) / (2 * SIDE) * CELLS).floor().long()
    inside = ((index >= 0) & (index < CELLS)).all(1)
    flat = (index[:, 0] * CELLS + index[:, 1])[inside]
    found = torch.zeros_like(shares).index_add_(0, flat, torch.full((len(flat),), 1 / len(x), dtype=torch.float64))
    return 0.5 * float((found - shares).abs().sum() + 1 - found.sum())


def learnt_scores(seed: int) -> list[Score]:
    """Of all modes, and of the right half."""
    model = trained(seed)

    def score(label: int) -> Score:
        def of(x: Tensor, t: Tensor) -> Tensor:
            noise: Tensor = model(x, t, torch.full((len(x),), label))
            return -noise / VP.sigma(t)[:, None]

        return of

    return [score(NEITHER), score(0)]


def exact_scores() -> list[Score]:
    """Of all modes, and of the right half."""
    return [RING.score_under(VP), HALF.score_under(VP)]


def guided(scores: Sequence[Score], seed: int, resamples: Sequence[str | None]) -> list[float]:
    """Total variation of guided samples, one a way of resampling."""
    found, shares = [], guided_shares()
    times = time_grid(VP, STEPS, END, data_std=0.4)
    for resample in resamples:
        sampler = FKCSampler(scores, cfg(SCALE), VP, resample=resample)  # type: ignore[arg-type]
        x, _ = sampler.sample(SAMPLES, times, (2,), generator=torch.Generator().manual_seed(seed))
        found.append(distance(x, shares))
    return found


def floor(seed: int) -> float:
    """Total variation of as many exact samples: what no sampler gets below."""
    shares = guided_shares()
    generator = torch.Generator().manual_seed(seed)
    counts = torch.bincount(torch.multinomial(shares, SAMPLES, True, generator=generator), minlength=len(shares))
    return 0.5 * float((counts / SAMPLES - shares).abs().sum())
