"""Sequential Monte Carlo along a diffusion: samples of a combination of models, right at every time on the way."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from entrokit.groups import widest

from ..checks import check_tensors
from ..noising import Noising
from .clocks import BirthDeathClocks
from .combinations import RewardTilt
from .doors import check_call, check_models, check_rows, check_start, warn_of_noise, warn_of_small_groups
from .grid import checked_times, time_grid
from .particles import Info, Particles, log_z_error
from .resampling import RESAMPLERS, effective_sample_size, log_mean_weight, systematic_resample
from .stepping import Combination, Score

__all__ = ["FKCSampler"]


@dataclass(frozen=True)
class FKCSampler:
    """Samples of ``Π q_i^{b_i} exp(λ r)`` from the scores of the ``q_i``, by Euler-Maruyama steps with weights.

    Args:
        score_fns: ``score(x [K, *], t [K]) -> [K, *]`` of each model, all under one noising process. Where rows
            mean different things (prompts), `sample` needs ``groups``: a row is a place, and particles change places.
        exponents: ``b_i``, of `anneal`, `product` or `cfg`; their sum must be above 0, or noise has no law.
        sde: the noising process, as `entrokit.generative.noising` has them.
        c: noise of the particles, ``√c g``. 1: target score; 1 / Σ b_i: tempered noise. The law is the same, but the
            variance of log Z is not: with ``B = Σ b_i`` above 1, weights of pure noise have a finite one only for
            ``c > 2 (1 - 1 / B)``.
        resample: "systematic", "stratified", "residual"; "birth_death" for clocks. None never resamples: particles then
            follow the mixed scores as they would without correction, and the weights returned with them correct them.
        ess_threshold: resample a group whose ESS is below this share of its particles; 1 does so always.
        interval: look every so many steps.
        start_step: leave out so many steps and start from noise there, whose data are thought to be 0: refused where
            they are not (α² / σ² above 0.2), unless `sample` is given ``initial``.
        tilt: a reward, of `reward_tilt`.
        end: the last time, where ``steps`` is a number.
        clamp: holds a step's increments to so many nats around their group's mean, which biases the law. None does not.

    Raises:
        TypeError: a setting of another kind, such as a scheduler for the noising process or a function for the tilt.
        ValueError: a setting out of its range, by name; a score that carries another noising process than ``sde``.

    Source: Feynman-Kac Correctors (arXiv 2503.02819), its SMC sampler.
    """

    score_fns: Sequence[Score]
    exponents: Sequence[float]
    sde: Noising
    c: float = 1.0
    resample: Literal["systematic", "stratified", "residual", "birth_death"] | None = "systematic"
    ess_threshold: float = 0.5
    interval: int = 1
    start_step: int = 0
    tilt: RewardTilt | None = None
    end: float = 1e-3
    clamp: float | None = None

    def __post_init__(self) -> None:
        check_models(self.score_fns, self.exponents, self.sde, self.tilt)
        if not self.score_fns or len(self.score_fns) != len(self.exponents):
            counts = f"{len(self.score_fns)} score functions, {len(self.exponents)} exponents"
            raise ValueError(f"one exponent a score is expected; there are {counts}")
        if not all(map(math.isfinite, self.exponents)) or sum(self.exponents) <= 0:
            raise ValueError(f"exponents must be finite with a sum above 0; they are {list(self.exponents)}")
        known = (*RESAMPLERS, "birth_death", None)
        if self.resample not in known:
            raise ValueError(f"resample {self.resample!r} is not known; there are {', '.join(map(repr, known))}")
        if not 0 <= self.c < math.inf or not 0 <= self.ess_threshold <= 1:
            raise ValueError(f"c >= 0 and ess_threshold in [0, 1] are expected: {self.c} and {self.ess_threshold}")
        if self.interval < 1 or self.start_step < 0:
            raise ValueError(f"interval >= 1 and start_step >= 0 are expected: {self.interval} and {self.start_step}")
        if self.clamp is not None and not self.clamp > 0:
            raise ValueError(f"clamp must be above 0, or None; it is {self.clamp}")

    def sample(
        self,
        K: int,
        steps: int | Tensor | Sequence[float],
        shape: Sequence[int],
        *,
        groups: int = 1,
        initial: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Info]:
        """``[K, *shape]`` samples of equal weight (but for ``resample=None``), and how they came about.

        Args:
            K: particles in all. steps: how many, by `time_grid`; or the times themselves, falling.
            shape: of ONE particle, without the batch: ``(4, 64, 64)``, not ``(K, 4, 64, 64)``.
            groups: of equal size, one behind the other (``prompts.repeat_interleave(K // groups)``), each a population
                of its own with its own log Z: a particle is only ever replaced by one of its group. With several
                prompts it must be their number, or particles of one prompt end in the rows of another.
            initial: ``[K, *shape]`` particles of ``Π q_i^{b_i}`` at the first time, whose dtype and device are kept;
                drawn from noise's law, N(0, σ² / Σ b_i), if not given.

        Raises:
            TypeError: counts, a shape or a generator of another kind; scores or rewards that are no tensors.
            ValueError: a number of particles that groups do not divide; a first time below 1 that still has data in it
                (α² / σ² above 0.2), without ``initial``; inputs of a `diffusers_score` that differ
                within a group; particles or scores of another shape; a time outside [0, 1]; a score or reward that is
                NaN or infinite (which step, how many particles).

        Warns:
            UserWarning: one particle of a group holds all of its weight (which step, the first time); groups of one or
                two, which nothing corrects; particles that begin as noise whose weights have no finite variance there,
                or whose first step is too long for it.
        """
        path = self.run(K, steps, shape, groups=groups, initial=initial, generator=generator)
        particles = next(path)
        times, ess, resampled = [particles.t], [], []
        for particles in path:
            times.append(particles.t)
            ess.append(particles.ess)
            resampled.append(particles.resampled)
        error = log_z_error(particles)
        if self.resample in RESAMPLERS:
            indices = RESAMPLERS[self.resample](particles.grouped_weights, generator)
            particles = particles.chosen(indices, torch.ones_like(particles.resampled))
        return particles.x, Info(
            times=torch.tensor(times, dtype=torch.float64),
            ess=torch.stack(ess),
            resampled=torch.stack(resampled),
            log_z=particles.log_z,
            log_z_error=error,
            ancestors=particles.ancestors,
            log_weights=particles.log_weights,
        )

    def run(
        self,
        K: int,
        steps: int | Tensor | Sequence[float],
        shape: Sequence[int],
        *,
        groups: int = 1,
        initial: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Particles]:
        """The particles at the start and after every step, weighted; arguments and errors of `sample`."""
        check_call(K, shape, groups, generator)
        whole = time_grid(self.sde, steps, self.end) if isinstance(steps, int) else checked_times(steps)
        if self.start_step >= len(whole) - 1:
            raise ValueError(f"start_step {self.start_step} leaves none of {len(whole) - 1} steps")
        times = whole[self.start_step :].tolist()
        model = Combination(self.score_fns, self.exponents, self.sde, self.c, self.tilt)
        particles = self._begin(times[0], K, shape, groups, initial, generator)
        if self.resample is not None:
            check_rows(self.score_fns, K, groups)
            warn_of_small_groups(self.exponents, self.tilt, K // groups)
        if initial is None:
            warn_of_noise(self.exponents, self.c, self.sde, times[0], times[1])
        clocks = None
        if self.resample == "birth_death":
            clocks = BirthDeathClocks(groups, K // groups, generator, particles.x.device)
            particles = particles.chosen(
                systematic_resample(particles.grouped_weights, generator), torch.ones_like(particles.resampled)
            )
        yield particles
        warned = False
        for i, (now, then) in enumerate(pairwise(times), self.start_step + 1):
            x, increment = model.step(particles.x, i, now, then, generator)
            moved = self._moved(particles, i, then, x, increment.reshape(groups, -1), clocks)
            if not warned and groups < K and bool((moved.ess < 1.01).any()):
                warned = True
                warnings.warn(
                    f"step {i} (t = {then:.4g}): one particle of {K // groups} holds all the weight in "
                    f"{int((moved.ess < 1.01).sum())} of {groups} groups; take more particles, shorter steps or weaker "
                    f"exponents",
                    stacklevel=2,
                )
            if self.resample in RESAMPLERS and i % self.interval == 0:
                poor = moved.ess < self.ess_threshold * (K // groups)
                if bool(poor.any()):
                    moved = moved.chosen(RESAMPLERS[self.resample](moved.grouped_weights, generator), poor)
            particles = moved
            yield particles

    def _begin(
        self,
        t: float,
        count: int,
        shape: Sequence[int],
        groups: int,
        initial: Tensor | None,
        generator: torch.Generator | None,
    ) -> Particles:
        if initial is None:
            check_start(self.sde, t)
            device = None if generator is None else generator.device
            std = float(self.sde.sigma(torch.tensor(t, dtype=torch.float64))) / math.sqrt(sum(self.exponents))
            x = std * torch.randn(count, *shape, generator=generator, device=device)
        else:
            check_tensors(initial=initial)
            if initial.shape != (count, *shape) or not initial.is_floating_point():
                wanted, found = f"{[count, *shape]} of floats", f"{list(initial.shape)}, {initial.dtype}"
                raise ValueError(f"initial particles {wanted} are expected; they are {found}")
            x = initial.detach()
        logw = torch.zeros(count, dtype=widest(x), device=x.device)
        if self.tilt is not None and self.tilt.strength_at(t):
            logw = self.tilt.strength_at(t) * self.tilt.at(x, "the start")[0].to(widest(x))
        grouped = logw.reshape(groups, -1)
        return Particles(
            step=self.start_step,
            t=t,
            x=x,
            log_weights=logw,
            log_z=log_mean_weight(grouped),
            ess=effective_sample_size(grouped),
            resampled=torch.zeros(groups, dtype=torch.bool, device=x.device),
            ancestors=torch.arange(count, device=x.device),
        )

    def _moved(
        self, before: Particles, i: int, t: float, x: Tensor, increment: Tensor, clocks: BirthDeathClocks | None
    ) -> Particles:
        """After a step of every particle, and before resampling but by clocks."""
        if self.clamp is not None:
            mean = increment.mean(1, keepdim=True)
            increment = mean + (increment - mean).clamp(-self.clamp, self.clamp)
        nobody = torch.zeros_like(before.resampled)
        if clocks is not None:
            after = replace(before, step=i, t=t, x=x, log_z=before.log_z + log_mean_weight(increment), resampled=nobody)
            indices = clocks.step(increment)
            return after.chosen(indices, (indices != torch.arange(indices.shape[1], device=x.device)).any(1))
        logw = before.grouped_weights + increment
        gained = log_mean_weight(logw) - log_mean_weight(before.grouped_weights)
        return replace(
            before,
            step=i,
            t=t,
            x=x,
            log_weights=logw.flatten(),
            log_z=before.log_z + gained,
            ess=effective_sample_size(logw),
            resampled=nobody,
        )
