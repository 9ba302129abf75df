"""What a correction costs beyond the sampling that it corrects.

    python benchmarks/feynman_kac.py            # half a minute

- ``particles``: 20 steps of a product of two mixtures of two modes in two dimensions, from 1000 to 100 000 particles:
  `FKCSampler`, with birth-death clocks, and a plain loop of Euler-Maruyama steps of the mixed scores.
- ``network``: 20 steps of guidance of a network of four layers of 256 in 64 dimensions, 2000 particles.
- ``unet``: 10 steps of guidance of a tiny `diffusers` UNet, 16 images of 16 x 16, beside its own DDPM scheduler's loop.
- ``resampling``: indices of 100 000 log-weights, beside `torch.multinomial` of their softmax.

Contestants take turns, in an order that turns with every round; CPU seconds of one thread, medians with the least and
the largest, ratios of the same round to the first. Prints tables and writes ``runs/bench/feynman_kac.json``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn
from turns import saved, shown, timed

from entrokit.generative.feynman_kac import (
    FKCSampler,
    cfg,
    diffusers_score,
    product,
    residual_resample,
    scheduler_noising,
    scheduler_times,
    stratified_resample,
    systematic_resample,
    time_grid,
)
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.noising import VariancePreserving

Calls = dict[str, Callable[[], Any]]
VP = VariancePreserving()


@torch.no_grad()
def mixed(
    scores: Sequence[Callable[[Tensor, Tensor], Tensor]], exponents: Sequence[float], x: Tensor, grid: Tensor
) -> Tensor:
    """Euler-Maruyama steps of the mixed scores and nothing else."""
    for now, then in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        beta, dt = float(VP.beta(torch.tensor(now, dtype=torch.float64))), now - then
        t = torch.full((len(x),), now, dtype=x.dtype)
        drift = 0.5 * beta * x + beta * sum(b * score(x, t) for b, score in zip(exponents, scores, strict=True))
        x = x + drift * dt + math.sqrt(beta * dt) * torch.randn_like(x)
    return x


def against(scores: Any, exponents: Any, count: int, dimensions: int) -> Calls:
    grid = time_grid(VP, 20)
    corrected = FKCSampler(scores, exponents, VP)
    clocks = FKCSampler(scores, exponents, VP, resample="birth_death")
    return {
        "mixed scores": lambda: mixed(scores, exponents, torch.randn(count, dimensions), grid),
        "FKCSampler": lambda: corrected.sample(count, grid, (dimensions,)),
        "with clocks": lambda: clocks.sample(count, grid, (dimensions,)),
    }


def particles(count: int) -> Calls:
    laws = [GaussianMixture(torch.full((2,), 0.5), 2 * torch.randn(2, 2), torch.full((2,), 0.6)) for _ in range(2)]
    return against([law.score_under(VP) for law in laws], product(2, 0.5), count, 2)


def network() -> Calls:
    def made() -> Callable[[Tensor, Tensor], Tensor]:
        layers = [nn.Linear(65, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU()]
        net = nn.Sequential(*layers, nn.Linear(256, 64))
        return lambda x, t: 0.1 * net(torch.cat([x, t[:, None]], 1)) - x

    return against([made(), made()], cfg(1.5), 2000, 64)


def unet() -> Calls:
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    model = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 16),
        norm_num_groups=4,
        num_class_embeds=3,
        **blocks,
    ).eval()
    scheduler = DDPMScheduler()
    scheduler.set_timesteps(10)
    null, label, count = torch.full((16,), 2), torch.arange(2).repeat_interleave(8), 16
    scores = [diffusers_score(model, scheduler, class_labels=of) for of in (null, label)]
    corrected = FKCSampler(scores, cfg(1.5), scheduler_noising(scheduler))

    @torch.no_grad()
    def plain() -> Tensor:
        x = torch.randn(count, 1, 16, 16)
        for t in scheduler.timesteps:
            free, conditional = (model(x, t, class_labels=of).sample for of in (null, label))
            x = scheduler.step(free + 1.5 * (conditional - free), t, x).prev_sample
        return x

    return {
        "DDPM of diffusers": plain,
        "FKCSampler": lambda: corrected.sample(count, scheduler_times(scheduler), (1, 16, 16), groups=2),
    }


def resampling() -> Calls:
    logw = torch.randn(100_000)
    return {
        "torch.multinomial": lambda: torch.multinomial(logw.softmax(0), len(logw), replacement=True),
        "systematic": lambda: systematic_resample(logw),
        "stratified": lambda: stratified_resample(logw),
        "residual": lambda: residual_resample(logw),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tables = {f"{count} particles": particles(count) for count in (1000, 10_000, 100_000)}
    tables |= {"network": network(), "unet": unet(), "resampling": resampling()}
    written: dict[str, Any] = {}
    for title, calls in tables.items():
        spent = timed(calls, arguments.rounds)
        shown(title, spent)
        written[title] = spent
    saved("feynman_kac", written)


if __name__ == "__main__":
    main()
