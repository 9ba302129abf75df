"""Probabilities of rare events by the cross-entropy method.

For ℓ = P(S(X) ≥ γ), X of a law u in a family f(·; v), with W = f(x; u) / f(x; v):

    γ_t = min(γ, the (1 - ρ)-quantile of S under v_{t-1}),   v_t = argmax_v Σ 1[S(x_i) ≥ γ_t] W(x_i) ln f(x_i; v)

until γ_t = γ; then ℓ is the mean of 1[S ≥ γ] W under v. v* = argmin KL(g* ‖ f(·; v)) with g* ∝ 1[S ≥ γ] f(·; u), the
law that would need one draw: hence the name. Weights stay in logs, since they underflow otherwise.

Equations are the textbook's (Rubinstein and Kroese, The Cross-Entropy Method, 2004).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from .protocol import EmptyEliteError, Sampler, check_count, check_share, check_smoothing, evaluate

F = TypeVar("F", bound=Sampler)


class StallWarning(UserWarning):
    """The levels stopped rising before they reached γ."""


@dataclass(frozen=True, eq=False)
class Level(Generic[F]):
    """One level: ``gamma`` γ_t, how many draws are in the elite, their effective number under W, the sampler after."""

    gamma: float
    elite: int
    effective: float
    sampler: F


@dataclass(frozen=True, eq=False)
class RareEvent(Generic[F]):
    """An estimate of P(S ≥ γ), and how far to trust it.

    Attributes:
        probability: ℓ, 0 where it underflows or nothing hit. log_probability: ln ℓ, nats.
        relative_error: standard error over ℓ, **as the draws see it**: what the sampler never visits is not in it.
            Infinite without a hit.
        hits: of the final draws. effective: how many draws of equal weights the hits are worth.
        status: ``reached`` γ; ``stalled``: the levels stopped rising; ``max_levels``: they were too few. Of the latter
            two the estimate is unbiased, and its error may be anything.
        sampler: that drew last. history: level by level.
    """

    probability: float
    log_probability: float
    relative_error: float
    hits: int
    effective: float
    status: Literal["reached", "stalled", "max_levels"]
    sampler: F
    history: tuple[Level[F], ...]


def cross_entropy_probability(
    score: Callable[[Tensor], Any],
    law: F,
    gamma: float,
    *,
    generator: torch.Generator,
    n: int = 1000,
    n_final: int = 10_000,
    rho: float = 0.1,
    smoothing: float = 1.0,
    max_levels: int = 100,
    patience: int = 5,
) -> RareEvent[F]:
    """P(S(X) ≥ γ) for X of ``law``.

    Args:
        score: S; takes draws ``[n, *E]`` and returns ``[n]``.
        law: u, of any family that is a `Sampler`; samplers are sought in the same family.
        n: draws a level. n_final: of the estimate. rho: share of a level's draws that are its elite.
        smoothing: of the family's parameters. patience: levels without a rise after which it has stalled.

    Raises:
        ValueError: an argument out of range, a score that is NaN or of another shape.
        EmptyEliteError: no draw of a level can come of ``law``.
    """
    check_count("n", n, 2)
    check_count("n_final", n_final, 2)
    check_count("max_levels", max_levels)
    check_count("patience", patience)
    check_share("rho", rho)
    check_smoothing(smoothing)
    if not math.isfinite(gamma):
        raise ValueError(f"gamma must be finite, got {gamma}")
    sampler, history, highest, waited = law, list[Level[F]](), -math.inf, 0
    status: Literal["reached", "stalled", "max_levels"] = "max_levels"
    for _ in range(max_levels):
        x = sampler.sample(n, generator)
        scores = evaluate("score", score, x)
        level = min(gamma, float(scores.sort().values[_rank(rho, n) - 1]))
        log_weights = torch.where(scores >= level, _log_ratio(law, sampler, x), -torch.inf)
        if bool((log_weights == -torch.inf).all()):
            raise EmptyEliteError(
                f"level {len(history) + 1}: none of the {int((scores >= level).sum())} draws with a score of at least "
                f"{level:g} can come of the law: the sampler left its support"
            )
        sampler = sampler.fit(x, log_weights, smoothing)
        history.append(Level(level, int((scores >= level).sum()), _effective(log_weights), sampler))
        if level >= gamma:
            status = "reached"
            break
        waited = 0 if level > highest else waited + 1
        highest = max(highest, level)
        if waited >= patience:
            status = "stalled"
            break
    if status != "reached":
        warnings.warn(
            f"the level stands at {highest:g} of {gamma:g} after {len(history)} levels ({status}): raise n or lower "
            "rho, give more levels, or another family; the relative error of this estimate says nothing",
            StallWarning,
            stacklevel=2,
        )
    return _estimated(score, law, gamma, sampler, n_final, generator, status, tuple(history))


def estimate_probability(
    score: Callable[[Tensor], Any], law: Sampler, gamma: float, sampler: F, *, n: int, generator: torch.Generator
) -> RareEvent[F]:
    """P(S(X) ≥ γ) for X of ``law`` by ``n`` draws of a given ``sampler``: the last step alone.

    With ``sampler=law`` it is plain Monte Carlo.
    """
    check_count("n", n, 2)
    return _estimated(score, law, gamma, sampler, n, generator, "reached", ())


def _estimated(
    score: Callable[[Tensor], Any],
    law: Sampler,
    gamma: float,
    sampler: F,
    n: int,
    generator: torch.Generator,
    status: Literal["reached", "stalled", "max_levels"],
    history: tuple[Level[F], ...],
) -> RareEvent[F]:
    x = sampler.sample(n, generator)
    hit = evaluate("score", score, x) >= gamma
    log_weights = torch.where(hit, _log_ratio(law, sampler, x), -torch.inf)
    largest = float(log_weights.max())
    if largest == -math.inf:
        return RareEvent(0.0, -math.inf, math.inf, int(hit.sum()), 0.0, status, sampler, history)
    weights = (log_weights - largest).exp()
    mean = float(weights.mean())
    log_probability = math.log(mean) + largest
    error = float(weights.std()) / (math.sqrt(n) * mean)
    return RareEvent(
        math.exp(log_probability),
        log_probability,
        error,
        int(hit.sum()),
        _effective(log_weights),
        status,
        sampler,
        history,
    )


def _log_ratio(law: Sampler, sampler: Sampler, x: Tensor) -> Tensor:
    """ln W ``[n]``.

    Raises:
        ValueError: a log_prob that is not ``[n]``, or a ratio that is NaN or +inf.
    """
    above, below = law.log_prob(x), sampler.log_prob(x)
    for whose, values in (("the law", above), ("the sampler", below)):
        if values.shape != (len(x),):
            raise ValueError(f"log_prob of {whose} must be one number a draw, [{len(x)}]; it is {list(values.shape)}")
    ratio = above - below
    if bool((ratio.isnan() | (ratio == torch.inf)).any()):
        raise ValueError("log_prob is NaN or infinite: a sampler must give its own draws a finite log_prob")
    return ratio


def _rank(rho: float, n: int) -> int:
    """⌈(1 - ρ) n⌉, where 0.9 · 1000 may come out above 900."""
    return max(1, math.ceil((1.0 - rho) * n - 1e-9))


def _effective(log_weights: Tensor) -> float:
    """(Σ w)² / Σ w², of weights of which one at least is above 0."""
    w = (log_weights - log_weights.max()).exp()
    return float(w.sum().square() / w.square().sum())
