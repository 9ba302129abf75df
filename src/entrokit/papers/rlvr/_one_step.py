"""Random states and one policy-gradient step on one token in each: what first-order estimates are held against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.distributions import entropy


@dataclass(frozen=True)
class OneStep:
    """``N`` softmax states in float64, each with one sampled token.

    Attributes:
        logits: ``[N, V]``. tokens: ``[N]``. advantages, ratio: ``[N]``. rate: step size η.
    """

    logits: Tensor
    tokens: Tensor
    advantages: Tensor
    ratio: Tensor
    rate: float

    @classmethod
    def sample(cls, seed: int, states: int = 4000, vocabulary: int = 50, rate: float = 0.05) -> OneStep:
        """Logits N(0, 1) × U(0.3, 6), advantages ±U(0.5, 1.5), ratios exp N(0, 0.1), as in an independent check."""
        generator = torch.Generator().manual_seed(seed)

        def uniform(low: float, high: float, *size: int) -> Tensor:
            return low + (high - low) * torch.rand(*size, generator=generator, dtype=torch.float64)

        def normal(*size: int) -> Tensor:
            return torch.randn(*size, generator=generator, dtype=torch.float64)

        logits = normal(states, vocabulary) * uniform(0.3, 6.0, states, 1)
        tokens = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        sign = torch.where(uniform(0.0, 1.0, states) < 0.5, -1.0, 1.0)
        return cls(logits, tokens, sign * uniform(0.5, 1.5, states), (0.1 * normal(states)).exp(), rate)

    @property
    def alpha(self) -> Tensor:
        """``η r A``, ``[N]``."""
        return self.rate * self.ratio * self.advantages

    @property
    def log_prob(self) -> Tensor:
        """Of the sampled tokens, ``[N]``."""
        return self.logits.log_softmax(-1).gather(1, self.tokens[:, None])[:, 0]

    def change(self, *, sampled_logit_only: bool = False) -> Tensor:
        """True change of entropy (nats), ``[N]``, when logits move by ``α (e_token - p)`` or its sampled entry."""
        chosen = torch.zeros_like(self.logits).scatter_(1, self.tokens[:, None], 1.0)
        move = self.alpha[:, None] * (chosen - self.logits.softmax(-1))
        if sampled_logit_only:
            move = move * chosen
        return entropy(self.logits + move, from_logits=True) - entropy(self.logits, from_logits=True)
