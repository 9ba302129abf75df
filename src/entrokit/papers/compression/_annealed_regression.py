"""The smallest model whose codes oscillate: linear regression in two bits, with annealing and without."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entrokit.compression.ofq import ConfidenceGuidedAnnealing, OscillationMonitor, quantize_model

INPUTS, OUTPUTS, ROWS, BATCH = 32, 8, 512, 64
STEPS, FROM, LAST = 1200, 700, 300
RATE, MOMENTUM, BOUNDARY_RANGE = 0.002, 0.9, 0.01


@dataclass(frozen=True)
class Regression:
    """Of one run: share of codes that change in each step, and the mean squared error (summed over outputs, averaged
    over all rows) after each of the last 300."""

    changed: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def late_changes(self) -> float:
        return sum(self.changed[-LAST:]) / LAST

    @property
    def late_error(self) -> float:
        return sum(self.errors) / LAST


def regress(seed: int, *, annealed: bool) -> Regression:
    """y = x W*ᵀ + 0.1 noise, learnt by SGD in two bits of StatsQ; ``annealed`` from step 700 on."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, truth, start = normal(ROWS, INPUTS), normal(OUTPUTS, INPUTS), normal(OUTPUTS, INPUTS)
    y = x @ truth.T / math.sqrt(INPUTS) + 0.1 * normal(ROWS, OUTPUTS)
    model = nn.Linear(INPUTS, OUTPUTS, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(start / math.sqrt(INPUTS))
    quantize_model(model, 2)
    monitor = OscillationMonitor(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    changed: list[float] = []
    errors: list[float] = []

    def learn(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(ROWS, (BATCH,), generator=generator)
            optimizer.zero_grad()
            torch.autograd.backward((model(x[rows]) - y[rows]).square().sum(1).mean())
            optimizer.step()
            changed.append(monitor.update()["changed"])
            if len(changed) > STEPS - LAST:
                with torch.no_grad():
                    errors.append(float((model(x) - y).square().sum(1).mean()))

    learn(FROM)
    with ConfidenceGuidedAnnealing(model, optimizer, BOUNDARY_RANGE) if annealed else nullcontext():
        learn(STEPS - FROM)
    return Regression(tuple(changed), tuple(errors))
