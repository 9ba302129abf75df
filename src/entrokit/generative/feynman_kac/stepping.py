"""One step of all particles: where they move, and what their log-weights gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..noising import Noising
from .combinations import RewardTilt, check_particles
from .weights import fkc_drift, fkc_weight, mixed_score, tilt_weight

__all__ = ["Combination", "Score"]

Score = Callable[[Tensor, Tensor], Tensor]
"""``score(x, t)``: the gradient of a model's log-density at particles ``[K, *]`` and times ``[K]``."""


@dataclass(frozen=True)
class Combination:
    """Models under one noising process, and what is wanted of them; fields of `FKCSampler`."""

    score_fns: Sequence[Score]
    exponents: Sequence[float]
    sde: Noising
    c: float
    tilt: RewardTilt | None

    @torch.no_grad()
    def step(
        self, x: Tensor, i: int, now: float, then: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Particles ``[K, *]`` at ``then``, and increments ``[K]`` in nats, of those at ``now``, by Euler-Maruyama.

        Raises:
            ValueError: a score or reward of another shape, or NaN or infinite; particles that ran away.
        """
        time, dt = torch.tensor(now, dtype=torch.float64), now - then
        a, g2 = float(self.sde.drift(time)), float(self.sde.squared_diffusion(time))
        step = f"step {i} (t = {now:.4g})"
        scores = self._scores(x, now, step)
        forward, mixed = a * x, mixed_score(scores, self.exponents)
        increment = fkc_weight(scores, self.exponents, a * x[0].numel(), g2) * dt
        pull = None
        if self.tilt is not None:
            reward, gradient = self.tilt.at(x, step)
            strength = self.tilt.strength(now)
            pull = strength * gradient
            # The whole change of strength over the step, so that what the schedule rises by is never missed.
            increment = increment + (self.tilt.strength(then) - strength) * reward.to(increment.dtype)
            increment = increment + tilt_weight(mixed, forward, g2, pull) * dt
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        moved = x + fkc_drift(mixed, forward, g2, self.c, pull) * dt + math.sqrt(self.c * g2 * dt) * noise
        check_particles(moved, f"after {step} particles' places are")
        return moved, increment

    def _scores(self, x: Tensor, t: float, step: str) -> list[Tensor]:
        times = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        scores = []
        for j, score_fn in enumerate(self.score_fns):
            score = score_fn(x, times)
            if score.shape != x.shape:
                raise ValueError(f"{step}: score {j} has shape {list(score.shape)}, the particles {list(x.shape)}")
            check_particles(score, f"{step}: score {j} is")
            scores.append(score.to(x.dtype))
        return scores
