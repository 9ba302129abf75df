"""What the entry of the three regimes is measured on: a batch-normed MLP on digits, pruned and retrained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from entrokit.dynamics.pruning import Probe, probe_pruning

TRAIN, BATCH = 1000, 32
DENSE_LR, RETRAIN_LR = 0.1, 0.3
DENSE_EPOCHS, RETRAIN_EPOCHS = 40, 40


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits in [-1, 1], in one order for all seeds."""

    x: Tensor
    y: Tensor

    @property
    def train(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(torch.split(self.x[:TRAIN], 100), torch.split(self.y[:TRAIN], 100), strict=True))

    @torch.no_grad()
    def test_error(self, model: nn.Module) -> float:
        model.eval()
        return float((model(self.x[TRAIN:]).argmax(1) != self.y[TRAIN:]).double().mean())


def digits() -> Digits:
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(data.data).float() / 8.0 - 1.0
    return Digits(x[order], torch.from_numpy(data.target)[order])


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hidden = [m for _ in range(3) for m in (nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(64, 10))


def train(
    model: nn.Module, data: Digits, seed: int, lr: float, epochs: int, checkpoints: tuple[int, ...] = ()
) -> list[dict[str, Tensor]]:
    """SGD with two drops of the rate, at a half and three quarters; gives the states after the epochs asked for."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [epochs // 2, 3 * epochs // 4])
    generator, kept = torch.Generator().manual_seed(seed), []
    model.train()
    for epoch in range(1, epochs + 1):
        for rows in torch.split(torch.randperm(TRAIN, generator=generator), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(data.x[rows]), data.y[rows]))
            optimizer.step()
        schedule.step()
        if epoch in checkpoints:
            kept.append({name: value.clone() for name, value in model.state_dict().items()})
    return kept


def probes(
    seed: int, epochs: tuple[int, ...], densities: tuple[float, ...], copies: int, retrain: int
) -> list[list[tuple[Probe, float]]]:
    """A probe and the mean test error of its copies, for every number of dense epochs (rows) and density.

    Numbers of epochs are checkpoints of one dense run of `DENSE_EPOCHS`, as in the paper's code.
    """
    data, dense = digits(), network(seed)
    states = train(dense, data, seed, DENSE_LR, DENSE_EPOCHS, epochs)

    def again(model: nn.Module, order: int) -> None:
        train(model, data, 1000 * (seed + 1) + order, RETRAIN_LR, retrain)

    found = []
    for state in states:
        dense.load_state_dict(state)
        row = [probe_pruning(dense, again, data.train, density, seeds=range(copies)) for density in densities]
        found.append([(probe, float(np.mean([data.test_error(n) for n in probe.networks]))) for probe in row])
    return found
