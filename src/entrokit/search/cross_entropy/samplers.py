"""Exponential, Bernoulli and categorical samplers; their weighted maximum likelihood is a weighted mean.

Events have the shape of the parameters, and their numbers are independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .protocol import mixed, normalised, parameter, weighted_mean


@dataclass(frozen=True, eq=False)
class Exponential:
    """Independent exponential laws of means ``mean`` ``[*E]``; a number is a law of numbers."""

    mean: Any

    def __post_init__(self) -> None:
        mean = parameter("Exponential.mean", self.mean)
        if not bool((mean > 0).all()):
            raise ValueError(f"Exponential.mean must be above 0, got {self.mean}")
        object.__setattr__(self, "mean", mean)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        drawn: Tensor = self.mean.new_empty(n, *self.mean.shape).exponential_(generator=generator) * self.mean
        return drawn

    def log_prob(self, x: Tensor) -> Tensor:
        each = torch.where(x >= 0, -x / self.mean - self.mean.log(), -torch.inf)
        return each.reshape(len(x), -1).sum(1)

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> Exponential:
        return Exponential(mixed(self.mean, weighted_mean(x, normalised(log_weights)), smoothing))


@dataclass(frozen=True, eq=False)
class Bernoulli:
    """Independent bits of probabilities ``probs`` ``[*E]``; draws are 0.0 and 1.0.

    ``floor``: no probability that is fitted comes nearer to 0 or 1, where it could never leave again. Those that are
    given stay as they are.
    """

    probs: Any
    floor: float = 1e-6

    def __post_init__(self) -> None:
        if not 0.0 < self.floor < 0.5:
            raise ValueError(f"Bernoulli.floor must lie between 0 and 0.5, got {self.floor}")
        probs = parameter("Bernoulli.probs", self.probs)
        if not bool(((probs >= 0) & (probs <= 1)).all()):
            raise ValueError(f"Bernoulli.probs must lie in [0, 1], got {self.probs}")
        object.__setattr__(self, "probs", probs)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.bernoulli(self.probs.expand(n, *self.probs.shape), generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        each = torch.where(x > 0.5, self.probs.log(), torch.log1p(-self.probs))
        return each.reshape(len(x), -1).sum(1)

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> Bernoulli:
        # A mean of bits may exceed 1 by rounding.
        new = mixed(self.probs, weighted_mean(x, normalised(log_weights)).clamp(0.0, 1.0), smoothing)
        return Bernoulli(new.clamp(self.floor, 1.0 - self.floor), self.floor)


@dataclass(frozen=True, eq=False)
class Categorical:
    """Independent choices among K, of probabilities ``probs`` ``[*E, K]``; draws are int64 ``[n, *E]``.

    ``floor``: no probability that is fitted falls below it, from where it could never rise again. Those that are given
    are divided by their sum, and stay as they are.
    """

    probs: Any
    floor: float = 1e-6

    def __post_init__(self) -> None:
        probs = parameter("Categorical.probs", self.probs)
        if not probs.ndim or not bool((probs >= 0).all()) or not bool((probs.sum(-1) > 0).all()):
            raise ValueError("Categorical.probs must be [..., K], at least 0 each, and above 0 in sum")
        if not 0.0 < self.floor < 1.0 / probs.shape[-1]:
            raise ValueError(f"Categorical.floor must lie between 0 and 1 / {probs.shape[-1]}, got {self.floor}")
        object.__setattr__(self, "probs", probs / probs.sum(-1, keepdim=True))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        rows = self.probs.reshape(-1, self.probs.shape[-1])
        drawn = torch.multinomial(rows, n, replacement=True, generator=generator)
        return drawn.T.reshape(n, *self.probs.shape[:-1])

    def log_prob(self, x: Tensor) -> Tensor:
        each: Tensor = self.probs.log().expand(*x.shape, -1).gather(-1, x[..., None])[..., 0]
        return each.reshape(len(x), -1).sum(1)

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> Categorical:
        chosen = torch.nn.functional.one_hot(x, self.probs.shape[-1]).to(self.probs)
        new = mixed(self.probs, weighted_mean(chosen, normalised(log_weights)), smoothing)
        return Categorical(new.clamp(min=self.floor), self.floor)
