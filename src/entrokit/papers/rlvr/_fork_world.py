"""Few forks among many tokens that the policy knows already: where the reward's signal is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from entrokit.bench import improve
from entrokit.distributions import token_statistics
from entrokit.rlvr import Context, PolicyStats, Rollouts, recipe


@dataclass(frozen=True)
class ForkWorld:
    """20 positions of 8 options: 4 undecided forks that earn the reward, 16 followers that the policy knows already
    (the setting of an independent check).
    """

    seed: int
    positions: int = 20
    options: int = 8
    forks: int = 4
    group: int = 32
    updates: int = 2
    learning_rate: float = 2.0
    steps: int = 100

    def train(self, spec: str) -> NDArray[np.float64]:
        """Mean probability of the right option at forks, before every step and at the end: ``[steps + 1]``."""
        chosen = recipe(spec)
        generator = torch.Generator().manual_seed(self.seed)
        right = torch.randint(self.options, (self.positions,), generator=generator)
        is_fork = torch.randperm(self.positions, generator=generator) < self.forks
        known = torch.nn.functional.one_hot(right, self.options) * 6.0
        unsure = 0.2 * torch.randn(self.positions, self.options, generator=generator)
        logits = torch.where(is_fork[:, None], unsure, known).requires_grad_()
        everywhere = torch.ones(self.group, self.positions, dtype=torch.bool)
        course = []
        for step in range(self.steps + 1):
            with torch.no_grad():
                p = logits.softmax(-1)
                course.append(float(p[is_fork, right[is_fork]].mean()))
                tokens = torch.multinomial(p, self.group, replacement=True, generator=generator).T.contiguous()
            if step == self.steps:
                break
            reward = (tokens == right)[:, is_fork].float().mean(1)
            rollouts = Rollouts(
                tokens=tokens,
                real=everywhere,
                trained=everywhere,
                group=torch.zeros(self.group, dtype=torch.long),
                reward=reward,
                behaviour=self._statistics(logits.detach(), tokens, chosen.needs),
            )

            def current(tokens: torch.Tensor = tokens) -> PolicyStats:
                return self._statistics(logits, tokens, chosen.needs)

            context = Context(step=step, total_steps=self.steps, generator=generator)
            improve(chosen, logits, current, rollouts, self.updates, self.learning_rate, context)
        return np.array(course)

    def _statistics(self, logits: torch.Tensor, tokens: torch.Tensor, needs: frozenset[str]) -> PolicyStats:
        return PolicyStats.of(token_statistics(logits.expand(len(tokens), -1, -1), tokens, need=needs))
