"""P(S(X) ≥ γ) by the draws of one sampler, each weighted by W = f(x; u) / f(x; v); weights stay in logs.

ℓ = (1/N) Σ 1[S(x_i) ≥ γ] W(x_i),   relative error = std(1[S ≥ γ] W) / (√N ℓ),   effective = (Σ w)² / Σ w²
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from ..checks import check_count, check_generator, check_number
from .protocol import Sampler, check_function, check_sampler, evaluate
from .tails import HeavyTailWarning, largest_reliable_k, pareto_k

F = TypeVar("F", bound=Sampler)

Status = Literal["reached", "uncovered", "stalled", "max_levels"]


@dataclass(frozen=True, eq=False)
class Level(Generic[F]):
    """One level.

    Attributes:
        gamma: γ_t. elite: how many draws score as much. effective: how many equal ones they are worth under W.
        sampler: after the level. foreseen: the relative error of P(S ≥ γ_t) by as many draws of that sampler, as this
            level's own draws foresee it; infinite where the sampler cannot draw what they saw.
    """

    gamma: float
    elite: int
    effective: float
    sampler: F
    foreseen: float


@dataclass(frozen=True, eq=False)
class RareEvent(Generic[F]):
    """An estimate of P(S ≥ γ), and how far to trust it.

    Attributes:
        probability: ℓ, 0 where it underflows or nothing hit. log_probability: ln ℓ, nats.
        relative_error: standard error over ℓ, **as the draws see it**: what the sampler never visits is not in it.
            Infinite without a hit; of plain draws of the law it is binomial, and 0 where all of them hit.
        hits: of the final draws. effective: how many draws of equal weights the hits are worth.
        pareto_k: how heavy the tail of the hits' weights is (arXiv 1507.02646). Above 0.7, or 1 - 1/log10(hits) where
            that is less, neither the estimate nor its error is to be trusted: most often a sampler that is narrower
            than the event. A small k is no proof. -inf of equal weights; NaN of too few hits to tell.
        status: ``reached`` γ; ``uncovered``: so it did, but a refit left out what draws before it had seen, and the
            estimate may be of a part of the event; ``stalled``: the levels stopped rising; ``max_levels``: they were
            too few. Of the last three the estimate is unbiased, and its error may be anything.
        sampler: that drew last; the law itself where the event is not rare. history: level by level.
    """

    probability: float
    log_probability: float
    relative_error: float
    hits: int
    effective: float
    pareto_k: float
    status: Status
    sampler: F
    history: tuple[Level[F], ...] = field(repr=False)


def estimate_probability(
    score: Callable[[Tensor], Any], law: Sampler, gamma: float, sampler: F, *, n: int, generator: torch.Generator
) -> RareEvent[F]:
    """P(S(X) ≥ γ) for X of ``law`` by ``n`` draws of a given ``sampler``: the last step alone.

    With ``sampler=law`` it is plain Monte Carlo.

    Warns:
        HeavyTailWarning: ``pareto_k`` is too large.

    Raises:
        TypeError: no sampler, number, function or generator where one is due.
        ValueError: a number out of range, a score that is NaN or of another shape.
    """
    check_function("score", score)
    check_sampler("law", law)
    check_sampler("sampler", sampler)
    check_count("n", n, 2)
    check_generator(generator)
    found = estimated(score, law, check_number("gamma", gamma), sampler, n, generator, "reached", ())
    warn_of_tail(found, stacklevel=3)
    return found


def estimated(
    score: Callable[[Tensor], Any],
    law: Sampler,
    gamma: float,
    sampler: F,
    n: int,
    generator: torch.Generator,
    status: Status,
    history: tuple[Level[F], ...],
) -> RareEvent[F]:
    """The estimate at the end of ``history``."""
    x = sampler.sample(n, generator)
    hit = evaluate("score", score, x) >= gamma
    log_weights = torch.where(hit, log_ratio(law, sampler, x), -torch.inf)
    hits, largest = int(hit.sum()), float(log_weights.max())
    if largest == -math.inf:
        return RareEvent(0.0, -math.inf, math.inf, hits, 0.0, math.nan, status, sampler, history)
    weights = (log_weights - largest).exp()
    mean = float(weights.mean())
    log_probability = math.log(mean) + largest
    error = float(weights.std()) / (math.sqrt(n) * mean)
    k = pareto_k(log_weights[log_weights > -torch.inf])
    return RareEvent(
        math.exp(log_probability), log_probability, error, hits, effective(log_weights), k, status, sampler, history
    )


def warn_of_tail(found: RareEvent[F], stacklevel: int) -> None:
    """Warns of weights with too heavy a tail."""
    # NaN is above nothing.
    if found.hits > 1 and found.pareto_k > largest_reliable_k(found.hits):
        warnings.warn(
            f"the weights of the {found.hits} hits have a tail of Pareto shape k = {found.pareto_k:.2f}, above "
            f"{largest_reliable_k(found.hits):.2g}: a few draws carry the estimate, most often of a sampler that is "
            f"narrower than the event, and its relative error of {found.relative_error:.2g} cannot know what is "
            "beyond them. Take a family whose width stays, such as ShiftedGaussian, or raise n",
            HeavyTailWarning,
            stacklevel=stacklevel,
        )


def log_ratio(law: Sampler, sampler: Sampler, x: Tensor) -> Tensor:
    """ln W ``[n]`` of draws of ``sampler``.

    Raises:
        ValueError: a log_prob that is not ``[n]``, or a ratio that is NaN or +inf.
    """
    ratio = log_prob("the law", law, x) - log_prob("the sampler", sampler, x)
    if bool((ratio.isnan() | (ratio == torch.inf)).any()):
        raise ValueError("log_prob is NaN or infinite: a sampler must give its own draws a finite log_prob")
    return ratio


def log_prob(whose: str, law: Sampler, x: Tensor) -> Tensor:
    """Nats ``[n]``.

    Raises:
        ValueError: another shape.
    """
    values = law.log_prob(x)
    if values.shape != (len(x),):
        raise ValueError(f"log_prob of {whose} must be one number a draw, [{len(x)}]; it is {list(values.shape)}")
    return values


def effective(log_weights: Tensor) -> float:
    """(Σ w)² / Σ w², of weights of which one at least is above 0."""
    w = (log_weights - log_weights.max()).exp()
    return float(w.sum().square() / w.square().sum())
