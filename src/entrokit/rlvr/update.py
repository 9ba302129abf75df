"""One micro-batch of an update, as the weight, surrogate and penalty stages see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from entrokit.groups import widest
from entrokit.moved import renamed

from .stats import PolicyStats

# exp(20) = 5e8: beyond any ratio that means something, and far from overflow.
LOG_RATIO_LIMIT = 20.0


@dataclass(frozen=True)
class Update:
    """Current and behaviour statistics of the same completions, all ``[B, T]`` and zero outside ``trained``.

    Attributes:
        current: statistics of the policy being updated, with gradient.
        behaviour: statistics of the policy that sampled, without.
        advantages: ``[B, T]``.
        trained: ``[B, T]`` bool, the tokens that count.
        reference_logp: ``[B, T]`` or None.
        correct: ``[B, 1]`` bool or None, completions that are right.
        prepared: what `Recipe.prepare` gave for these rows, keyed ``intervention/name``.
    """

    current: PolicyStats
    behaviour: PolicyStats
    advantages: Tensor
    trained: Tensor
    reference_logp: Tensor | None = None
    correct: Tensor | None = None
    prepared: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def log_ratio(self) -> Tensor:
        """``log π/π_behaviour``, clamped to ±20."""
        return (self.current.logp - self.behaviour.logp).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)

    @cached_property
    def ratio(self) -> Tensor:
        return self.log_ratio.exp()

    @property
    def train(self) -> Tensor:
        """`trained`, under its name of before 0.2."""
        return renamed("Update.train", "trained", self.trained)

    def mean(self, x: Tensor) -> Tensor:
        """Mean of ``x [B, T]`` over trained tokens, detached; 0 where there are none. For metrics."""
        counted = torch.where(self.trained, x.detach(), 0.0).to(widest(x))
        return counted.sum() / self.trained.sum().clamp(min=1)
