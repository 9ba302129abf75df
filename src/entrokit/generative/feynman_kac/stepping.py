"""One step of all particles: where they move, and what their log-weights gain.

Rates of the noising are means over the step, not those at its start. A variance exploding process loses most of its
noise within a step, and its rate at the start, held over the whole step, adds several times what is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..noising import Noising
from .combinations import RewardTilt, check_particles
from .grid import mean_rates
from .weights import fkc_drift, fkc_weight, mixed_score, tilt_weight

__all__ = ["Combination", "Score"]

Score = Callable[[Tensor, Tensor], Tensor]
"""``score(x, t)``: the gradient of a model's log-density at particles ``[K, *]`` and times ``[K]``.

Called under `torch.no_grad`: one that differentiates an energy does so under `torch.enable_grad`. It may carry its
process as ``noising``, which a sampler then holds to its own."""


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
            TypeError: a score that is no tensor.
            ValueError: a score or reward of another shape, or NaN or infinite; particles that ran away.
        """
        dt = now - then
        a, g2 = mean_rates(self.sde, now, then)
        step = f"step {i} (t = {now:.4g})"
        scores = self._scores(x, now, step)
        forward, mixed = a * x, mixed_score(scores, self.exponents)
        increment = fkc_weight(scores, self.exponents, a * x[0].numel(), g2) * dt
        pull = None
        if self.tilt is not None:
            reward, gradient = self.tilt.at(x, step)
            strength = self.tilt.strength_at(now)
            pull = strength * gradient
            # The whole change of strength over the step, so that what the schedule rises by is never missed.
            increment = increment + (self.tilt.strength_at(then) - strength) * reward.to(increment.dtype)
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
            if not isinstance(score, Tensor):
                raise TypeError(
                    f"{step}: score {j} must be a tensor {list(x.shape)}; it is a {type(score).__name__}. A model of "
                    f"diffusers becomes a score by diffusers_score(model, scheduler)"
                )
            if score.shape != x.shape:
                raise ValueError(f"{step}: score {j} has shape {list(score.shape)}, the particles {list(x.shape)}")
            check_particles(score, f"{step}: score {j} is")
            scores.append(score.to(x.dtype))
        return scores
