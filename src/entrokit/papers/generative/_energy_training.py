"""How an energy is trained: fresh batches, AdamW down half a cosine, clipped gradients, an average of the weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from entrokit.generative.energy import EnergyScore, FokkerPlanckRegularizer, equal_weight, training_loss
from entrokit.generative.noising import VariancePreserving

SDE = VariancePreserving()
FIRST = 1e-5
RATE, LAST_RATE, DECAY, CLIP, BATCH = 1e-3, 1e-5, 0.995, 1.0, 128

Draw = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Times:
    """What times a model is trained at, and where its weight of them has its middle; ``whole``: of the weight."""

    low: float = FIRST
    high: float = 1.0
    midpoint: float = 0.3
    whole: tuple[float, float] = (0.0, 1.0)

    def weight(self, t: Tensor) -> Tensor:
        return equal_weight(t, self.midpoint, self.whole)

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        return self.low + (self.high - self.low) * torch.rand(count, generator=generator)


def regularizer(form: Any, alpha: float, times: Times) -> FokkerPlanckRegularizer:
    """With the weight of the denoising loss, as in the official code."""
    return FokkerPlanckRegularizer(alpha, times.weight, form)


def trained(
    model: EnergyScore,
    draw: Draw,
    steps: int,
    seed: int,
    penalty: FokkerPlanckRegularizer | None = None,
    times: Times | None = None,
) -> tuple[EnergyScore, float]:
    """The average of its weights, for evaluation, and the seconds of the core that the training took."""
    times = times or Times()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, LAST_RATE)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
    began = time.process_time()
    for _ in range(steps):
        t = times.drawn(BATCH, generator)
        loss = training_loss(model, draw(BATCH, generator), t, SDE, penalty, weight=times.weight, generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(loss.total)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
    return cast(EnergyScore, average.module.eval()), time.process_time() - began


def started(hidden: tuple[int, ...], time_range: tuple[float, float], seed: int) -> EnergyScore:
    """Of points in the plane, with weights of the seed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return EnergyScore.mlp(2, hidden, time_range)
