"""Sequential Monte Carlo along a diffusion: samples of a combination of models, right at every time on the way."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Integral
from typing import Literal, TypedDict

import torch
from torch import Tensor

from entrokit.groups import widest

from ..checks import check_tensors
from ..noising import Noising, check_noising, check_same_noising
from .clocks import BirthDeathClocks
from .combinations import RewardTilt
from .grid import checked_times, mean_rates, time_grid
from .particles import Particles, log_z_error
from .resampling import RESAMPLERS, effective_sample_size, log_mean_weight, systematic_resample
from .schedulers import DiffusersScore
from .stepping import Combination, Score

__all__ = ["FKCSampler", "Info"]


class Info(TypedDict):
    """What `FKCSampler.sample` says of a run of G groups.

    Keys:
        times: ``[steps + 1]``. ess: ``[steps, G]``, before resampling. resampled: ``[steps, G]``, whether it was done.
        log_z, log_z_error: ``[G]`` in nats. ancestors, log_weights: ``[K]``. As `Particles` and `log_z_error` say.
    """

    times: Tensor
    ess: Tensor
    resampled: Tensor
    log_z: Tensor
    log_z_error: Tensor
    ancestors: Tensor
    log_weights: Tensor


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
        start_step: leave out so many steps and start from noise there, whose data are thought to be 0.
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
        if not isinstance(self.score_fns, Sequence):
            raise TypeError(f"score_fns is a list of score functions; it is a {type(self.score_fns).__name__}")
        check_noising("sde", self.sde)
        if self.tilt is not None and not isinstance(self.tilt, RewardTilt):
            raise TypeError(f"tilt is made by reward_tilt(r, strength); it is a {type(self.tilt).__name__}")
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
        for j, score in enumerate(self.score_fns):
            if not callable(score) or _of_diffusers(score):
                raise TypeError(
                    f"score {j} must be a function score(x, t); it is a {type(score).__name__}. A model of diffusers "
                    f"becomes one by diffusers_score(model, scheduler)"
                )
            if (noising := getattr(score, "noising", None)) is not None:
                check_same_noising(f"score {j}", noising, self.sde)
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
            shape: of one particle.
            groups: of equal size, one behind the other (``prompts.repeat_interleave(K // groups)``), each a population
                of its own with its own log Z: a particle is only ever replaced by one of its group. With several
                prompts it must be their number, or particles of one prompt end in the rows of another.
            initial: ``[K, *shape]`` particles of ``Π q_i^{b_i}`` at the first time, whose dtype and device are kept;
                drawn from noise's law, N(0, σ² / Σ b_i), if not given.

        Raises:
            TypeError: counts, a shape or a generator of another kind; scores or rewards that are no tensors.
            ValueError: a number of particles that groups do not divide; inputs of a `diffusers_score` that differ
                within a group; particles or scores of another shape; a time outside [0, 1]; a score or reward that is
                NaN or infinite (which step, how many particles).

        Warns:
            UserWarning: one particle of a group holds all of its weight (which step, the first time); particles that
                begin as noise whose weights have no finite variance there, or whose first step is too long for it.
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
        _check_call(K, shape, groups, generator)
        whole = time_grid(self.sde, steps, self.end) if isinstance(steps, Integral) else checked_times(steps)
        if self.start_step >= len(whole) - 1:
            raise ValueError(f"start_step {self.start_step} leaves none of {len(whole) - 1} steps")
        times = whole[self.start_step :].tolist()
        model = Combination(self.score_fns, self.exponents, self.sde, self.c, self.tilt)
        particles = self._begin(times[0], K, shape, groups, initial, generator)
        self._check_inputs(K, groups)
        if initial is None:
            self._warn_of_noise(times[0], times[1])
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
        if initial is not None:
            check_tensors(initial=initial)
        if initial is None:
            device = None if generator is None else generator.device
            std = float(self.sde.sigma(torch.tensor(t, dtype=torch.float64))) / math.sqrt(sum(self.exponents))
            x = std * torch.randn(count, *shape, generator=generator, device=device)
        elif initial.shape != (count, *shape) or not initial.is_floating_point():
            wanted = f"{[count, *shape]} of floats"
            raise ValueError(
                f"initial particles {wanted} are expected; they are {list(initial.shape)}, {initial.dtype}"
            )
        else:
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

    def _check_inputs(self, count: int, groups: int) -> None:
        if self.resample is not None:
            for score in self.score_fns:
                if isinstance(score, DiffusersScore):
                    score.check_groups(count, groups)

    def _warn_of_noise(self, first: float, second: float) -> None:
        """Of pure noise N(0, σ²) all is known: every score is -x / σ²."""
        total = sum(self.exponents)
        finite = 2 * (1 - 1 / total)
        if self.c < finite:
            warnings.warn(
                f"exponents of sum {total:.4g} and noise c = {self.c:.4g}: weights of pure noise have no finite "
                f"variance, so that log_z strays further than log_z_error says; take c above {finite:.4g}, and more "
                f"steps with it",
                stacklevel=4,
            )
        _, g2 = mean_rates(self.sde, first, second)
        variance = float(self.sde.sigma(torch.tensor(first, dtype=torch.float64))) ** 2
        pull = 0.5 * (1 + self.c) * total * g2 * (first - second) / variance
        if pull > 1:
            warnings.warn(
                f"the first step, from t = {first:.4g} to {second:.4g}, takes noise {pull:.2g} times the way to the "
                f"middle: above 1 it overshoots, and above 2 it runs away. Take more steps, a smaller c or weaker "
                f"exponents",
                stacklevel=4,
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


def _of_diffusers(score: object) -> bool:
    return any(kind.__module__.startswith("diffusers.models.") for kind in type(score).__mro__)


def _check_call(count: int, shape: Sequence[int], groups: int, generator: torch.Generator | None) -> None:
    for name, number in (("K", count), ("groups", groups)):
        if not isinstance(number, Integral):
            raise TypeError(f"{name} is a whole number; it is {number!r}")
    if isinstance(shape, Integral) or not all(isinstance(size, Integral) for size in shape):
        raise TypeError(f"shape is that of one particle, such as (2,) or (3, 64, 64); it is {shape!r}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator is a torch.Generator, such as torch.Generator().manual_seed(0); it is a "
            f"{type(generator).__name__}"
        )
    if count < 1 or groups < 1 or count % groups:
        raise ValueError(f"K particles in groups of equal size are expected; {count} are in {groups} groups")
