"""Probabilities of rare events by the cross-entropy method.

For ℓ = P(S(X) ≥ γ), X of a law u in a family f(·; v), with W = f(x; u) / f(x; v):

    γ_t = min(γ, the (1 - ρ)-quantile of S under v_{t-1}),   v_t = argmax_v Σ 1[S(x_i) ≥ γ_t] W(x_i) ln f(x_i; v)

until γ_t = γ; then ℓ is the mean of 1[S ≥ γ] W under v. v* = argmin KL(g* ‖ f(·; v)) with g* ∝ 1[S ≥ γ] f(·; u), the
law that would need one draw: hence the name. Weights stay in logs, since they underflow otherwise.

Equations are the textbook's (Rubinstein and Kroese, The Cross-Entropy Method, 2004).

A family that cannot hold the event, one Gaussian for two modes, ends on a part of it, and draws from there see no
error. So each level says beforehand what the next sampler is worth: with ℓ_t = P(S ≥ γ_t) the relative variance of a
draw of v_t is E_{v_{t-1}}[1[S ≥ γ_t] W f(x; u) / f(x; v_t)] / ℓ_t² - 1, which is large where v_t left out what v_{t-1}
drew.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..checks import check_count, check_generator, check_number, check_share, check_smoothing
from .estimate import Level, RareEvent, Status, effective, estimated, log_prob, log_ratio, warn_of_tail
from .protocol import EmptyEliteError, Sampler, check_function, check_sampler, evaluate

F = TypeVar("F", bound=Sampler)

# Families that hold their event foresaw 0.21 at most with 1000 draws a level (docs/search/cross-entropy-riemann.md).
_UNCOVERED = 0.25


class StallWarning(UserWarning):
    """The levels stopped rising before they reached γ."""


class UncoveredWarning(UserWarning):
    """A sampler left out what draws before it had seen of the event."""


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

    Where the first level is γ already, nothing is rare, and the final draws are the law's own: plain Monte Carlo.

    Args:
        score: S; takes draws ``[n, *E]`` and returns ``[n]``.
        law: u, of any family that is a `Sampler`; samplers are sought in the same family. For an event that may lie in
            several places, ``Mixture([law] * K)``.
        n: draws a level. n_final: of the estimate. rho: share of a level's draws that are its elite.
        smoothing: of the family's parameters. patience: levels without a rise after which it has stalled.

    Warns:
        StallWarning: γ was not reached. UncoveredWarning: the status is ``uncovered``. HeavyTailWarning: γ was
            reached, and `RareEvent.pareto_k` is too large: a few draws carry the estimate.

    Raises:
        TypeError: no sampler, number, function or generator where one is due.
        ValueError: an argument out of range, a score that is NaN or of another shape.
        EmptyEliteError: no draw of a level can come of ``law``.
    """
    check_function("score", score)
    check_sampler("law", law)
    gamma = check_number("gamma", gamma)
    check_generator(generator)
    check_count("n", n, 2)
    check_count("n_final", n_final, 2)
    check_count("max_levels", max_levels)
    check_count("patience", patience)
    check_share("rho", rho)
    check_smoothing(smoothing)
    sampler, history, highest, waited = law, list[Level[F]](), -math.inf, 0
    status: Status = "max_levels"
    for _ in range(max_levels):
        x = sampler.sample(n, generator)
        scores = evaluate("score", score, x)
        level = min(gamma, float(scores.sort().values[_rank(rho, n) - 1]))
        log_weights = torch.where(scores >= level, log_ratio(law, sampler, x), -torch.inf)
        if bool((log_weights == -torch.inf).all()):
            raise EmptyEliteError(
                f"level {len(history) + 1}: none of the {int((scores >= level).sum())} draws with a score of at least "
                f"{level:g} can come of the law: the sampler left its support"
            )
        if history or level < gamma:
            sampler = sampler.fit(x, log_weights, smoothing)
        foreseen = _foreseen(law, sampler, x, log_weights)
        history.append(Level(level, int((scores >= level).sum()), effective(log_weights), sampler, foreseen))
        if level >= gamma:
            status = "reached" if max(own.foreseen for own in history) <= _UNCOVERED else "uncovered"
            break
        waited = 0 if level > highest else waited + 1
        highest = max(highest, level)
        if waited >= patience:
            status = "stalled"
            break
    if status in ("stalled", "max_levels"):
        warnings.warn(
            f"the level stands at {highest:g} of {gamma:g} after {len(history)} levels ({status}): raise n or lower "
            "rho, give more levels, or another family, such as Mixture([law] * 2); the relative error of this estimate "
            "says nothing",
            StallWarning,
            stacklevel=2,
        )
    if status == "uncovered":
        at = max(range(len(history)), key=lambda t: history[t].foreseen)
        warnings.warn(
            f"level {at + 1} of {len(history)}: its draws foresee a relative error of {history[at].foreseen:.2g} for "
            f"{n} draws of the next sampler, which may have left a part of the event that they saw; the estimate may "
            "lack it, and its relative error cannot know. Where the event may lie in several places take "
            "Mixture([law] * 2) or more; otherwise raise n",
            UncoveredWarning,
            stacklevel=2,
        )
    found = estimated(score, law, gamma, sampler, n_final, generator, status, tuple(history))
    if status in ("reached", "uncovered"):
        warn_of_tail(found, stacklevel=3)
    return found


def _foreseen(law: Sampler, after: Sampler, x: Tensor, log_weights: Tensor) -> float:
    """Relative error of P(S ≥ γ_t) by n draws of ``after``, by draws ``x`` of the sampler before, 1 · W in logs."""
    elite = log_weights > -torch.inf
    own = log_weights[elite]
    ratio = log_prob("the law", law, x[elite]) - log_prob("the sampler", after, x[elite])
    second = float((own + ratio).logsumexp(0) - 2.0 * own.logsumexp(0)) + math.log(len(x))
    if second > 700.0:
        return math.inf
    # Of a sampler that is all but perfect the variance may come out below 0.
    return math.sqrt(max(math.exp(second) - 1.0, 0.0) / len(x))


def _rank(rho: float, n: int) -> int:
    """⌈(1 - ρ) n⌉, where 0.9 · 1000 may come out above 900."""
    return max(1, math.ceil((1.0 - rho) * n - 1e-9))
