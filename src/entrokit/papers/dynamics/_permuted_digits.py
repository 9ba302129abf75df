"""Permuted digits one after another: networks of binary variational layers, and their metaplastic peer.

The peer (Laborieux et al., arXiv 2003.03533) has weights that are the signs of hidden real ones, learnt through
straight-through gradients. A step that would pull a hidden weight W back towards 0 is damped by 1 - tanh²(mW): what was
decided often is hard to undo. As its authors do, its batch normalisation is put back for each task when that is judged,
which tells it the task; the variational network is not told.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from entrokit.dynamics.franz_parisi import BinaryVariationalLinear, PosteriorPrior, beta_schedule

SIZES, TASKS, EPOCHS, TRAIN, BATCH = (64, 128, 128, 10), 5, 10, 1200, 64


def variational(seed: int, when: Literal["previous_task", "previous_step"] | None) -> list[float]:
    """Accuracy on each task after the last one of a network of binary variational layers; None: without a prior."""
    tasks, generator = _tasks(seed)
    layers = [BinaryVariationalLinear(a, b, generator=generator) for a, b in pairwise(SIZES)]
    model = nn.ModuleList(layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    prior = PosteriorPrior(model, when or "previous_task", gamma=1.0 if when else 0.0)
    for number, (x, y, _, _) in enumerate(tasks):
        for epoch in range(EPOCHS):
            for layer in layers:
                layer.beta = beta_schedule(number * EPOCHS + epoch, TASKS * EPOCHS)
            for rows in torch.split(torch.randperm(TRAIN, generator=generator), BATCH):
                loss = nn.functional.cross_entropy(_logits(layers, x[rows], generator), y[rows], reduction="sum")
                # Released: the whole KL to the iterate before, in every step; the principle: a batch's share of it.
                loss = loss + prior.penalty(1.0 if when == "previous_step" else len(rows) / TRAIN)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                prior.after_step()
        prior.end_task()
    return [_accuracy(_logits(layers, x), y) for _, _, x, y in tasks]


def metaplastic(seed: int, meta: float) -> list[float]:
    """Accuracy on each task after the last one of the peer, with as many weights and steps; ``meta`` is its m."""
    normalisations: list[dict[str, Tensor]] = []
    tasks, generator = _tasks(seed)
    model = MetaplasticNetwork(SIZES, generator)
    optimizer = MetaplasticAdam(model, meta, lr=0.005)
    for x, y, _, _ in tasks:
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(TRAIN, generator=generator), BATCH):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(model(x[rows]), y[rows]))
                optimizer.step()
        normalisations.append({name: value.clone() for name, value in model.norms.state_dict().items()})
    model.eval()
    accuracies = []
    for normalisation, (_, _, x, y) in zip(normalisations, tasks, strict=True):
        model.norms.load_state_dict(normalisation)
        accuracies.append(_accuracy(model(x), y))
    return accuracies


class MetaplasticNetwork(nn.Module):
    """Linear layers of ±1 weights, each with batch normalisation, and signs between them; logits ``[B, sizes[-1]]``."""

    def __init__(self, sizes: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        pairs = list(pairwise(sizes))
        self.hidden = nn.ParameterList(nn.Parameter(0.1 * torch.randn(b, a, generator=generator)) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(b, affine=False) for _, b in pairs)

    def forward(self, a: Tensor) -> Tensor:
        for i, (weight, norm) in enumerate(zip(self.hidden, self.norms, strict=True)):
            z: Tensor = norm(nn.functional.linear(a, _straight_through(weight, weight)))
            a = z if i == len(self.hidden) - 1 else _straight_through(z, nn.functional.hardtanh(z))
        return a


class MetaplasticAdam:
    """Adam on the hidden weights, whose steps towards 0 are damped; ``meta`` is m of the paper, 0 plain Adam."""

    def __init__(self, network: MetaplasticNetwork, meta: float, lr: float) -> None:
        self._weights, self._meta = list(network.hidden), meta
        self._adam = torch.optim.Adam(self._weights, lr=lr)

    def zero_grad(self) -> None:
        self._adam.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        before = [weight.clone() for weight in self._weights]
        self._adam.step()
        for weight, old in zip(self._weights, before, strict=True):
            change = weight - old
            back = change * old < 0
            weight.copy_(old + torch.where(back, change * (1.0 - torch.tanh(self._meta * old).square()), change))


def _logits(layers: list[BinaryVariationalLinear], a: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Logits of inputs ``[B, 64]``, with noise where there is a generator."""
    for i, layer in enumerate(layers):
        a = a if i == 0 else torch.relu(a)
        noise = None if generator is None else torch.randn(len(a), SIZES[i + 1], generator=generator)
        a = layer(a, generator is not None, noise=noise)
    return a


def _tasks(seed: int) -> tuple[list[tuple[Tensor, Tensor, Tensor, Tensor]], torch.Generator]:
    """Digits under a permutation of pixels a task: x and y to learn from, x and y to be judged by."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("permuted digits need scikit-learn: pip install 'entrokit[information]'") from error
    digits, generator = load_digits(), torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(digits.data).float() / 8.0 - 1.0, torch.from_numpy(digits.target)
    order = torch.randperm(len(x), generator=generator)
    x, y = x[order], y[order]
    seen = [x[:, torch.randperm(64, generator=generator)] for _ in range(TASKS)]
    return [(x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]) for x in seen], generator


def _accuracy(logits: Tensor, y: Tensor) -> float:
    return float((logits.argmax(1) == y).double().mean())


def _straight_through(value: Tensor, slope: Tensor) -> Tensor:
    """The sign of ``value`` (+1 at 0), with the gradient of ``slope``."""
    return slope + (torch.where(value < 0, -1.0, 1.0) - slope).detach()
