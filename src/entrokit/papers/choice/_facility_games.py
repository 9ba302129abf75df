"""Rules that are gamed: where agents end who all try, and what one of them gains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.choice.facility import (
    average,
    best_response_equilibrium,
    constrained_median,
    fair_interval,
    fairness_report,
    find_manipulation,
    manipulability,
    median,
    midpoint,
    order_statistic,
    uniform_phantom,
)

EXACT = 1e-9
PLAYED, GAMED = (2, 3, 5), (3, 4, 5, 8)
REPLYING, LOOKED_AT = 100, 500
Rule = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Played:
    """Best replies, a number a seed.

    Attributes:
        error: by rule, the farthest settled outcome from the uniform phantom. settled: by rule, the share of profiles.
        missed: share that the quadratic mean ends more than 0.01 away from it. sweeps, within_three: under the average,
            the most sweeps and the share of profiles with at most three.
    """

    error: Mapping[str, list[float]]
    settled: Mapping[str, list[float]]
    missed: list[float]
    sweeps: list[float]
    within_three: list[float]


Table = Mapping[str, Mapping[int, list[float]]]


@dataclass(frozen=True)
class Gamed:
    """By rule and number of agents, a number a seed: share of profiles that are gamed, mean gain, share that break PF.

    ``witnesses``: by rule, in how many numbers of agents the adversary found one.
    """

    share: Table
    gain: Table
    unfair: Table
    witnesses: Mapping[str, list[float]]


def half_phantom(r: Tensor) -> Tensor:
    """Half the average, half the uniform phantom: fair as both are, and strictly monotone as the average is."""
    return 0.5 * average(r) + 0.5 * uniform_phantom(r)


def half_quadratic(r: Tensor) -> Tensor:
    """Half the average, half the quadratic mean moved into the proportionally fair interval."""
    low, high = fair_interval(r)
    return 0.5 * average(r) + 0.5 * torch.minimum(torch.maximum(quadratic(r), low), high)


def quadratic(r: Tensor) -> Tensor:
    return r.square().mean(-1).sqrt()


def middle(r: Tensor) -> Tensor:
    n = r.shape[-1]
    return (order_statistic(r, (n + 1) // 2) + order_statistic(r, n // 2 + 1)) / 2


FAIR: Mapping[str, Rule] = {
    "average": average,
    "half uniform phantom": half_phantom,
    "half quadratic": half_quadratic,
}
RULES: Mapping[str, Rule] = {
    "uniform phantom": uniform_phantom,
    "constrained median": constrained_median,
    "median, left": median,
    "median, mean of the middle two": middle,
    "average": average,
    "midpoint": midpoint,
}
HONEST = list(RULES)[:3]


def played(seeds: Sequence[int]) -> Played:
    error: dict[str, list[float]] = {name: [] for name in FAIR}
    settled: dict[str, list[float]] = {name: [] for name in FAIR}
    found = Played(error, settled, [], [], [])
    for seed in seeds:
        places = [torch.rand(REPLYING, n, generator=_generator(seed), dtype=torch.float64) for n in PLAYED]
        honest = torch.cat([uniform_phantom(x) for x in places])
        for name, rule in FAIR.items():
            ends = [best_response_equilibrium(x, rule, max_sweeps=2000 if rule is average else 40) for x in places]
            there = torch.cat([end.settled for end in ends])
            off = (torch.cat([end.outcome for end in ends]) - honest).abs()
            error[name].append(float(off[there].max()))
            settled[name].append(float(there.double().mean()))
            if rule is average:
                took = torch.cat([end.sweeps for end in ends])
                found.sweeps.append(float(took.max()))
                found.within_three.append(float((took <= 3).double().mean()))
        elsewhere = torch.cat([best_response_equilibrium(x, quadratic, max_sweeps=40).outcome for x in places])
        found.missed.append(float(((elsewhere - honest).abs() > 0.01).double().mean()))
    return found


def gamed(seeds: Sequence[int]) -> Gamed:
    share, gain, unfair = _table(), _table(), _table()
    witnesses: dict[str, list[float]] = {name: [] for name in RULES}
    for seed in seeds:
        for n in GAMED:
            x = torch.rand(LOOKED_AT, n, generator=_generator(seed), dtype=torch.float64)
            for name, rule in RULES.items():
                gains = manipulability(rule, x).gain
                share[name][n].append(float((gains > EXACT).double().mean()))
                gain[name][n].append(float(gains.mean()))
                unfair[name][n].append(fairness_report(x, rule(x)).violation_rates()["pf"])
        for name, rule in RULES.items():
            seen = [find_manipulation(rule, n, profiles=64, generator=_generator(seed)) for n in GAMED]
            witnesses[name].append(float(sum(own is not None for own in seen)))
    return Gamed(share, gain, unfair, witnesses)


def _table() -> dict[str, dict[int, list[float]]]:
    return {name: {n: [] for n in GAMED} for name in RULES}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
