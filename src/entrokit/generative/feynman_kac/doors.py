"""What a sampler refuses, or warns of, before its first step."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral

import torch

from ..noising import Noising, check_noising, check_same_noising
from .combinations import RewardTilt
from .grid import mean_rates
from .schedulers import DiffusersScore

__all__ = ["check_call", "check_models", "check_rows", "check_start", "warn_of_noise", "warn_of_small_groups"]

# Of α² / σ²: data of unit variance then widen the noise by less than 10 %. Grids of diffusers' schedulers begin below
# it with four steps or more, whatever their betas; the cosine's is the nearest, at 0.17.
LARGEST_SIGNAL = 0.2


def check_models(score_fns: object, exponents: object, sde: object, tilt: object) -> None:
    """Raises what `FKCSampler` says of settings of another kind, and of scores under another process than ``sde``."""
    if not isinstance(score_fns, Sequence):
        raise TypeError(f"score_fns is a list of score functions; it is a {type(score_fns).__name__}")
    if not isinstance(exponents, Iterable) or getattr(exponents, "ndim", 1) != 1:
        raise TypeError(f"exponents are one a score, such as anneal(2.0), which is (2.0,); they are {exponents!r}")
    check_noising("sde", sde)
    if tilt is not None and not isinstance(tilt, RewardTilt):
        raise TypeError(f"tilt is made by reward_tilt(r, strength); it is a {type(tilt).__name__}")
    for j, score in enumerate(score_fns):
        if not callable(score) or _of_diffusers(score):
            raise TypeError(
                f"score {j} must be a function score(x, t); it is a {type(score).__name__}. A model of diffusers "
                f"becomes one by diffusers_score(model, scheduler)"
            )
        if isinstance(noising := getattr(score, "noising", None), Noising):
            assert isinstance(sde, Noising)
            check_same_noising(f"score {j}", noising, sde)


def check_call(count: object, shape: object, groups: object, generator: object) -> None:
    """Raises what `FKCSampler.sample` says of counts, a shape and a generator."""
    for name, number in (("K", count), ("groups", groups)):
        if not isinstance(number, Integral):
            raise TypeError(f"{name} is a whole number; it is {number!r}")
    if not isinstance(shape, Sequence) or not all(isinstance(size, Integral) for size in shape):
        raise TypeError(f"shape is that of one particle, such as (2,) or (3, 64, 64); it is {shape!r}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator is a torch.Generator, such as torch.Generator().manual_seed(0); it is a "
            f"{type(generator).__name__}"
        )
    if count < 1 or groups < 1 or count % groups:  # type: ignore[operator]
        raise ValueError(f"K particles in groups of equal size are expected; {count} are in {groups} groups")


def check_rows(score_fns: Sequence[object], count: int, groups: int) -> None:
    """Raises what `DiffusersScore.check_groups` says of any of the scores."""
    for score in score_fns:
        if isinstance(score, DiffusersScore):
            score.check_groups(count, groups)


def check_start(sde: Noising, first: float) -> None:
    """Raises a ValueError for a first time before the process's end that is not yet noise; the end itself is."""
    at = torch.tensor(first, dtype=torch.float64)
    signal = float((sde.alpha(at) / sde.sigma(at)) ** 2)
    if first < 1 and not signal <= LARGEST_SIGNAL:
        raise ValueError(
            f"the first time, t = {first:.4g}, still has data in it: α² / σ² is {signal:.3g} there, and particles are "
            f"drawn from pure noise only up to {LARGEST_SIGNAL:g}. Begin nearer to 1 (fewer steps left out; of a "
            f"scheduler more steps, or timestep_spacing='trailing'), or give particles of that time as initial="
        )


def warn_of_small_groups(exponents: Sequence[float], tilt: object, size: int) -> None:
    """Warns of populations of one or two, which resampling cannot correct, unless there is nothing to correct."""
    plain = tilt is None and [exponent for exponent in exponents if exponent] == [1]
    if size < 3 and not plain:
        warnings.warn(
            f"groups of {size}: a particle is only ever replaced by one of its group, so that these samples follow the "
            f"mixed scores, all but uncorrected. Each group needs a population: K is the number of groups times tens "
            f"of particles or more",
            stacklevel=4,
        )


def warn_of_noise(exponents: Sequence[float], c: float, sde: Noising, first: float, second: float) -> None:
    """Warns of what pure noise N(0, σ²) is known to do with particles: every score is -x / σ² there.

    With ``y = √B x / σ`` and the clock ``du = g² / σ² dt``, particles follow ``dy = -½ ((1 + c) B - 1) y du`` and noise
    of variance ``c B du``, and gain ``½ (B - 1) (y² - 1) du``. What a place is worth in the end grows as
    ``exp((B - 1) y² / (2 B c))``, an eigenfunction of both (for c above 1 - 1 / B; below it grows faster). Its square
    has a mean under N(0, 1), which is the law of y, where ``c > 2 (1 - 1 / B)``.
    """
    total = sum(exponents)
    finite = 2 * (1 - 1 / total)
    if c < finite:
        warnings.warn(
            f"exponents of sum {total:.4g} and noise c = {c:.4g}: weights of pure noise have no finite variance, so "
            f"that log_z strays further than log_z_error says; take c above {finite:.4g}, and more steps with it",
            stacklevel=4,
        )
    _, g2 = mean_rates(sde, first, second)
    variance = float(sde.sigma(torch.tensor(first, dtype=torch.float64))) ** 2
    pull = 0.5 * (1 + c) * total * g2 * (first - second) / variance
    if pull > 1:
        warnings.warn(
            f"the first step, from t = {first:.4g} to {second:.4g}, takes noise {pull:.2g} times the way to "
            f"the middle: above 1 it overshoots, and above 2 it runs away. Take more steps, a smaller c or weaker "
            f"exponents",
            stacklevel=4,
        )


def _of_diffusers(score: object) -> bool:
    return any(kind.__module__.startswith("diffusers.models.") for kind in type(score).__mro__)
