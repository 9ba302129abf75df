"""Toy models of superposition: more sparse features than neurons, so that the truth about the features is known.

As used to validate the measure of arXiv 2512.13568 (equation 1). Features f_i are uniform on [0, 1] and 0 with
probability S; features of less importance 0.7^i give way first:

    x = W f,    f' = ReLU(Wᵀ x + b),    loss Σ_i ω_i (f_i - f'_i)²
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .effective_features import effective_features


@dataclass(frozen=True)
class ToyModel:
    """A trained toy model. weight: W ``[N, M]``. sparsity: S."""

    weight: Tensor
    sparsity: float

    def activations(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """``[samples, N]``."""
        return _features((samples, self.weight.shape[1]), self.sparsity, generator) @ self.weight.T

    def effective_features(self) -> float:
        """The truth: F of the shares ``|W_i|²`` of the features' directions."""
        return float(effective_features(self.weight.square().sum(0)))

    def frobenius_ratio(self) -> float:
        """A baseline of ψ: ``|W|² / N`` (equation 2)."""
        return float(self.weight.square().sum() / len(self.weight))


def toy_models(
    sparsities: Sequence[float],
    *,
    n_features: int = 20,
    n_neurons: int = 5,
    importance: float = 0.7,
    steps: int = 1500,
    batch_size: int = 256,
    lr: float = 5e-3,
    generator: torch.Generator | None = None,
) -> list[ToyModel]:
    """Trains a model for each sparsity, side by side.

    Adam with cosine decay; each model's loss is divided by 1 - S, so that all learn at one pace.

    Args:
        sparsities: S, each in [0, 1). importance: ω_i is its i-th power.

    Raises:
        ValueError: no sparsity, or one out of range.
    """
    if not sparsities or not all(0 <= s < 1 for s in sparsities):
        raise ValueError(f"toy_models: sparsities must be in [0, 1), got {list(sparsities)}")
    count = len(sparsities)
    weight = torch.randn(count, n_neurons, n_features, generator=generator) / n_features**0.5
    bias = torch.zeros(count, 1, n_features)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    omega = importance ** torch.arange(n_features)
    share = 1.0 - torch.tensor(list(sparsities))
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        f = torch.stack([_features((batch_size, n_features), s, generator) for s in sparsities])
        rebuilt = torch.relu(f @ weight.mT @ weight + bias)
        loss = (omega * (f - rebuilt).square()).sum(-1).mean(1) / share
        optimizer.zero_grad()
        torch.autograd.backward(loss.sum())
        optimizer.step()
        schedule.step()
    return [ToyModel(w, s) for w, s in zip(weight.detach(), sparsities, strict=True)]


def _features(shape: tuple[int, int], sparsity: float, generator: torch.Generator | None) -> Tensor:
    f = torch.rand(shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < sparsity, 0.0, f)
