"""Probabilities of rare events: closed forms, reported errors, and events in two places."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from entrokit.papers.told import spread
from entrokit.report import Chart, Series
from entrokit.search.cross_entropy import (
    Exponential,
    HeavyTailWarning,
    Mixture,
    RareEvent,
    ShiftedGaussian,
    StallWarning,
    UncoveredWarning,
    cross_entropy_probability,
    estimate_probability,
)

from ..entry import Shown
from ..evidence import Budget, Finding
from ._mirrored import Mirrored
from ._told import seeded

DRAWS, FINAL = 2000, 20_000
# P(X ≥ 20) of an exponential law of mean 1; P(X ≥ γ) of a standard normal one.
RARE = math.exp(-20.0)
TAILS = {gamma: 0.5 * math.erfc(gamma / math.sqrt(2.0)) for gamma in (3.0, 4.0, 5.0)}
ONE, PLANE = ShiftedGaussian(0.0), ShiftedGaussian([0.0, 0.0])
TWO_SIDES = 2.0 * TAILS[4.0]
TWO_PLACES: dict[str, tuple[Callable[[Tensor], Tensor], ShiftedGaussian, float]] = {
    "|X| ≥ 4": (torch.abs, ONE, TWO_SIDES),
    "max(X, Y) ≥ 4": (lambda x: x.amax(1), PLANE, 1.0 - (1.0 - TAILS[4.0]) ** 2),
}


def exponential_tail(budget: Budget) -> Iterator[Shown]:
    law = Exponential(1.0)
    runs = [_estimate(_itself, law, 20.0, seed) for seed in budget.seeds]
    plain = [
        estimate_probability(_itself, law, 20.0, law, n=FINAL + 5 * DRAWS, generator=seeded(1000 + seed)).probability
        for seed in budget.seeds
    ]
    found, levels = [run.probability for run in runs], [len(run.history) for run in runs]
    yield Finding(
        "A probability of 2e-9 is estimated from 30,000 draws, where plain sampling sees nothing.",
        "P(X ≥ 20) of an exponential law, every seed: within 15 % of e^-20 in 3 to 5 levels; plain Monte Carlo gives 0",
        f"{spread(found, '.3e')} against {RARE:.3e}, {min(levels)} to {max(levels)} levels; plain {max(plain):g}",
        all(abs(p / RARE - 1.0) <= 0.15 for p in found) and min(levels) >= 3 and max(levels) <= 5 and not any(plain),
        "theory: a relative error of 0.0367",
        {"estimate": found, "relative error": [run.relative_error for run in runs], "levels": levels, "plain": plain},
    )
    first = runs[0].history
    steps = list(range(1, len(first) + 1))
    yield Chart(
        "P(X ≥ 20) of an exponential law: levels, one seed",
        "level",
        "level γ, and mean of the sampler",
        (
            Series("γ", steps, [level.gamma for level in first]),
            Series("mean", steps, [float(level.sampler.mean) for level in first]),
        ),
        y_line=20.0,
    )


def normal_tails(budget: Budget) -> Finding:
    scores: dict[str, list[float]] = {}
    for gamma, exact in TAILS.items():
        tails = [_estimate(_itself, ONE, gamma, seed) for seed in budget.seeds]
        scores[f"γ = {gamma:g}"] = [(run.probability / exact - 1.0) / run.relative_error for run in tails]
    every = [abs(z) for own in scores.values() for z in own]
    return Finding(
        "The relative error that it reports is right where the family fits the event.",
        "normal tails beyond 3, 4 and 5, every seed: the error is at most 3.5 of the reported standard errors",
        f"{max(every):.2f} at most, root mean square {math.sqrt(statistics.fmean(z * z for z in every)):.2f}",
        max(every) <= 3.5,
        raw=scores,
    )


def two_sides(budget: Budget) -> Iterator[Finding]:
    one = [_estimate(torch.abs, ONE, 4.0, seed) for seed in budget.seeds]
    own = [_estimate(torch.abs, Mirrored(), 4.0, seed) for seed in budget.seeds]
    halves, wholes = ([run.probability / TWO_SIDES for run in runs] for runs in (one, own))
    said = [run.relative_error for run in one]
    yield Finding(
        "The relative error does not see a side of the event that the family cannot reach.",
        "P(|X| ≥ 4), every seed: one Gaussian gives 0.45 to 0.55 of it and reports an error below 5 %",
        f"{spread(halves)} of it, reported error {spread(said)}; {', '.join(sorted({run.status for run in one}))}",
        all(0.45 <= h <= 0.55 for h in halves) and max(said) < 0.05,
        "ours",
        {"of the truth": halves, "reported error": [e if math.isfinite(e) else None for e in said]},
    )
    yield Finding(
        "A family of one's own that has both sides mends it.",
        "P(|X| ≥ 4), every seed: two mirrored Gaussians give it within 10 %",
        f"{spread(wholes)} of it",
        all(abs(w - 1.0) <= 0.1 for w in wholes),
        "ours",
        {"of the truth": wholes},
    )


def mixtures(budget: Budget) -> Iterator[Finding]:
    found: dict[str, list[float]] = {}
    statuses: dict[str, set[str]] = {}
    unsaid = 0
    for event, (score, law, exact) in TWO_PLACES.items():
        for arm, sampler in (("one Gaussian", law), ("a mixture", Mixture([law] * 2))):
            runs = [_estimate(score, sampler, 4.0, seed) for seed in budget.seeds]
            found[f"{event}, {arm}"] = own = [run.probability / exact for run in runs]
            statuses.setdefault(arm, set()).update(run.status for run in runs)
            if arm == "one Gaussian":
                unsaid += sum(abs(p - 1.0) > 0.1 and run.status == "reached" for p, run in zip(own, runs, strict=True))
    both = [p for name, own in found.items() if name.endswith("a mixture") for p in own]
    yield Finding(
        "A mixture of two Gaussians, told nothing, finds both places of an event.",
        "P(|X| ≥ 4) and P(max(X, Y) ≥ 4), every seed: within 10 %, and the status is reached",
        f"{spread(both)} of it; {', '.join(sorted(statuses['a mixture']))}",
        all(abs(p - 1.0) <= 0.1 for p in both) and statuses["a mixture"] == {"reached"},
        "ours",
        {name: own for name, own in found.items() if name.endswith("a mixture")},
    )
    lone = {name: own for name, own in found.items() if name.endswith("one Gaussian")}
    yield Finding(
        "One Gaussian that lost one of the two places says that something is wrong.",
        "the same events, every seed: no estimate that is off by more than 10 % has the status reached",
        f"{'; '.join(f'{name} {spread(own)} of it' for name, own in lone.items())}; "
        f"{', '.join(sorted(statuses['one Gaussian']))}; {unsaid} unsaid",
        unsaid == 0,
        "ours",
        lone,
    )


def _estimate(score: Callable[[Tensor], Tensor], law: Any, gamma: float, seed: int) -> RareEvent[Any]:
    with warnings.catch_warnings():
        # The truth is known here, and the status is what is looked at.
        for known in (StallWarning, UncoveredWarning, HeavyTailWarning):
            warnings.simplefilter("ignore", known)
        return cross_entropy_probability(score, law, gamma, generator=seeded(seed), n=DRAWS, n_final=FINAL)


def _itself(x: Tensor) -> Tensor:
    return x
