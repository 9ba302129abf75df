"""Proportionally fair facility location: one strategyproof rule gives every group its share."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping

import torch

from entrokit.choice.facility import (
    average,
    best_welfare_ratio,
    constrained_median,
    cost_ratio,
    midpoint,
    uniform_phantom,
    welfare_ratio,
    worst_cost_ratio,
)
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._facility_games import EXACT, GAMED, HONEST, REPLYING, RULES, gamed, played
from ._facility_search import AXIOMS, every_phantom, is_uniform, near_uniform, profiles_of, searched

SEARCHED, EXHAUSTED = range(2, 7), range(2, 9)
NEAR, DRAWN = 100, 20_000


def axioms(budget: Budget) -> Iterator[Shown]:
    kept: dict[str, list[float]] = {}
    right, fair = True, True
    for n in SEARCHED:
        found = searched(n, every_phantom(n))
        uniform, edges = is_uniform(found.phantoms), (found.phantoms * n).clamp(1, n - 1) == found.phantoms * n
        kept[f"n = {n}: vectors, and those that keep proportionality, ufs, pf, ifs"] = [
            float(len(found.phantoms)),
            *(float(found.keeps[axiom].sum()) for axiom in (*AXIOMS, "ifs")),
        ]
        right &= all(torch.equal(found.keeps[axiom], uniform) for axiom in AXIOMS)
        fair &= torch.equal(found.keeps["ifs"], edges.all(-1))
    said = "; ".join(f"n = {n}: {own[0]:.0f} vectors, {own[1]:.0f}, {own[2]:.0f} and {own[3]:.0f} keep"
                     for n, own in zip(SEARCHED, kept.values(), strict=True))  # fmt: skip
    yield Finding(
        "Of all phantom medians one gives groups their share: that of uniform phantoms.",
        "n = 2 to 6, every vector of phantoms out of 0, 1/2n, ..., 1 on every profile out of 0, 1/n, ..., 1 and 1/2: "
        "proportionality, UFS and PF are each kept by 1/n, ..., (n-1)/n and by no other",
        said,
        right,
        "abstract: {proportionality, unanimity, SP}, {UFS, SP} and {PF, SP} each leave the uniform phantom alone",
        kept,
    )
    yield Finding(
        "A phantom median keeps individual fair share where its phantoms lie within 1/n and 1 - 1/n, and only there.",
        "the same vectors and profiles: those that keep IFS are those within, for every n",
        "; ".join(f"n = {n}: {own[4]:.0f} keep" for n, own in zip(SEARCHED, kept.values(), strict=True)),
        fair,
        "",
        kept,
    )
    off = {}
    for n in SEARCHED:
        near = [searched(n, near_uniform(n, NEAR, _generator(seed))) for seed in budget.seeds]
        for axiom in AXIOMS:
            off[f"n = {n}, kept {axiom}"] = [float(own.keeps[axiom].sum()) for own in near]
    most = max(max(own) for own in off.values())
    yield Finding(
        "Nor does a vector that is nearly uniform.",
        f"{NEAR} vectors a seed and n, moved by 1e-1 to 1e-4: none keeps proportionality, UFS or PF",
        f"at most {most:.0f} of {NEAR} keep one",
        most == 0,
        "",
        off,
    )


def ratios(budget: Budget) -> Iterator[Shown]:
    grids = {n: profiles_of(n) for n in EXHAUSTED}
    found = {
        name: [float(welfare_ratio(x, rule(x)).max()) for x in grids.values()]
        for name, rule in {"uniform phantom": uniform_phantom, "constrained median": constrained_median,
                           "average": average, "midpoint": midpoint}.items()
    }  # fmt: skip
    for rule, axiom, what in (
        ("uniform phantom", "ufs", "max n(n-k) / (k² + (n-k)²)"),
        ("constrained median", "ifs", "1 + (n-2) / (n² - 2n + 2)"),
    ):
        exact = [float(best_welfare_ratio(n, "ufs" if axiom == "ufs" else "ifs")) for n in EXHAUSTED]
        yield Finding(
            f"The worst welfare ratio of the {rule} is the best that {axiom.upper()} allows.",
            f"n = 2 to 8, all profiles out of 0, 1/n, ..., 1 and 1/2: the largest ratio is {what} within {EXACT:g}",
            ", ".join(f"{own:.6f}" for own in found[rule]),
            max(abs(a - b) for a, b in zip(found[rule], exact, strict=True)) <= EXACT,
            "abstract: the best welfare guarantee among rules with UFS or proportionality" if axiom == "ufs" else "",
            {rule: found[rule], "formula": exact},
        )
    best, formula = [], [float(best_welfare_ratio(n, "ifs")) for n in SEARCHED]
    for n in SEARCHED:
        every = searched(n, every_phantom(n))
        best.append(float(every.worst[every.keeps["ifs"]].min()))
    yield Finding(
        "No phantom median with individual fair share does better than the constrained median.",
        "n = 2 to 6, vectors of phantoms out of 0, 1/2n, ..., 1 that keep IFS: the least worst ratio is the formula's, "
        f"within {EXACT:g}",
        ", ".join(f"{own:.6f}" for own in best),
        max(abs(a - b) for a, b in zip(best, formula, strict=True)) <= EXACT,
        "",
        {"least": best, "formula": formula},
    )
    cost = [float(cost_ratio(x, uniform_phantom(x)).max()) for x in grids.values()]
    yield Finding(
        "Its cost may be n - 1 times the least.",
        f"n = 2 to 8, the same profiles: the largest cost ratio of the uniform phantom is n - 1, within {EXACT:g}",
        ", ".join(f"{own:.6f}" for own in cost),
        max(abs(own - worst_cost_ratio(n)) for n, own in zip(EXHAUSTED, cost, strict=True)) <= EXACT,
        "abstract: also minimum total cost; the independent check has n - 1 for the rule itself",
        {"cost ratio": cost},
    )
    over: dict[str, list[float]] = {"uniform phantom over formula": [], "constrained median over formula": []}
    for seed in budget.seeds:
        excess = [_excess(n, seed) for n in EXHAUSTED]
        for i, own in enumerate(over.values()):
            own.append(max(e[i] for e in excess))
    yield Finding(
        "No profile outside of the grid is worse.",
        f"{DRAWN:,} even profiles a seed and n = 2 to 8: no welfare ratio above the formula by more than {EXACT:g}",
        "; ".join(f"{name}: at most {max(own):+.4f}" for name, own in over.items()),
        max(max(own) for own in over.values()) <= EXACT,
        "",
        over,
    )
    yield Chart(
        "Welfare in the worst case, all profiles of a grid",
        "agents",
        "best welfare over that of the rule",
        tuple(Series(name, list(EXHAUSTED), own) for name, own in found.items()),
    )


def equilibria(budget: Budget) -> Iterator[Shown]:
    found = played(budget.seeds)
    worst, least = max(map(max, found.error.values())), min(map(min, found.settled.values()))
    yield Finding(
        "Where agents end who game a rule with unanimous fair share is the uniform phantom of the truth.",
        f"{REPLYING} even profiles a seed and n = 2, 3, 5 under three such rules: in every seed at least 0.9 settle, "
        f"and all of these are within {EXACT:g} of it",
        f"at least {least:.3f} settle; farthest {worst:.1e}",
        least >= 0.9 and worst <= EXACT,
        "abstract: of any continuous, strictly monotone rule with UFS; the average is its example",
        {
            **{f"farthest, {name}": own for name, own in found.error.items()},
            **{f"settle, {name}": own for name, own in found.settled.items()},
        },
    )
    yield Finding(
        "Without unanimous fair share they end elsewhere.",
        "quadratic mean, the same profiles: more than 0.01 away in at least half of them, every seed",
        f"{min(found.missed):.2f} to {max(found.missed):.2f}",
        min(found.missed) >= 0.5,
        "",
        {"share that is away": found.missed},
    )
    yield Finding(
        "Under the average, replies in turns settle within three sweeps.",
        "every profile of every seed: at most 3 sweeps in which a report changes",
        f"share within three {min(found.within_three):.3f} to {max(found.within_three):.3f}; most sweeps "
        f"{max(found.sweeps):.0f}",
        max(found.sweeps) <= 3,
        "independent check: at most 3 in all its examples",
        {"share within three": found.within_three, "most sweeps": found.sweeps},
    )


def manipulation(budget: Budget) -> Iterator[Shown]:
    found = gamed(budget.seeds)
    share, gain, witnesses = found.share, found.gain, found.witnesses
    raw = {f"{name}, n = {n}": own[n] for name, own in share.items() for n in GAMED}
    none = max(max(share[name][n]) for name in HONEST for n in GAMED)
    yield Finding(
        "Nobody games the uniform phantom, nor any other phantom median.",
        f"{', '.join(HONEST)}; 500 even profiles a seed and n = 3, 4, 5, 8, and an adversary that also chooses "
        f"profiles: no gain above {EXACT:g}",
        f"largest share of profiles {none:g}; adversary's witnesses {sum(sum(witnesses[name]) for name in HONEST):.0f}",
        none == 0 and not any(sum(witnesses[name]) for name in HONEST),
        "Moulin (1980)",
        {**raw, **{f"witnesses, {name}": own for name, own in witnesses.items()}},
    )
    for name in ("average", "midpoint"):
        own = [s for n in GAMED for s in share[name][n]]
        yield Finding(
            f"The {name} is gamed.",
            "the same profiles: in at least half of them an agent gains, every seed and n",
            f"{min(own):.3f} to {max(own):.3f} of profiles; mean gain "
            + ", ".join(f"{statistics.fmean(gain[name][n]):.3f} (n = {n})" for n in GAMED),
            min(own) >= 0.5,
            "",
            {f"{what}, n = {n}": of[name][n] for what, of in (("share", share), ("gain", gain)) for n in GAMED},
        )
    two = share["median, mean of the middle two"]
    yield Finding(
        "So is the median of an even number, where it is the mean of the middle two.",
        "the same profiles: gamed in at least a tenth of them at n = 4 and 8, in none at n = 3 and 5, every seed",
        "; ".join(f"n = {n}: {min(two[n]):.3f} to {max(two[n]):.3f}" for n in GAMED),
        min(two[4] + two[8]) >= 0.1 and max(two[3] + two[5]) == 0,
        "ours",
        {f"n = {n}": two[n] for n in GAMED},
    )
    broken = {name: [max(own[n]) for n in GAMED] for name, own in found.unfair.items()}
    fair = ("uniform phantom", "average")
    yield Finding(
        "Of these rules the uniform phantom and the average are proportionally fair.",
        "the same profiles: these two break PF in none, every other in some at every n",
        "; ".join(f"{name} {max(own):.3f}" for name, own in broken.items()),
        all(max(own) == 0 if name in fair else min(own) > 0 for name, own in broken.items()),
        "",
        {f"{name}, n = 3, 4, 5, 8": own for name, own in broken.items()},
    )
    yield Chart(
        "What the agent gains that can gain most",
        "agents",
        "gain, shares of the interval",
        tuple(_over_seeds(name, gain[name]) for name in RULES if name not in HONEST[1:]),
    )


def _excess(n: int, seed: int) -> tuple[float, float]:
    x = torch.rand(DRAWN, n, generator=_generator(seed), dtype=torch.float64)
    return (
        float(welfare_ratio(x, uniform_phantom(x)).max()) - float(best_welfare_ratio(n, "ufs")),
        float(welfare_ratio(x, constrained_median(x)).max()) - float(best_welfare_ratio(n, "ifs")),
    )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _over_seeds(name: str, gains: Mapping[int, list[float]]) -> Series:
    means = [statistics.fmean(gains[n]) for n in GAMED]
    low, high = ([of(gains[n]) for n in GAMED] for of in (min, max))
    return Series(name, list(GAMED), means, low=low, high=high)


PAPER = Paper(
    slug="facility-location",
    title="Strategyproof and Proportionally Fair Facility Location",
    arxiv="2111.01566",
    year=2021,
    family="choice",
    claim="Of all rules that nobody can game, one puts a facility so that every group has a say in proportion to its "
    "size: the median of the reports and evenly spaced phantoms.",
    names=(
        "entrokit.choice.facility.uniform_phantom",
        "entrokit.choice.facility.phantom_median",
        "entrokit.choice.facility.constrained_median",
        "entrokit.choice.facility.fairness_report",
        "entrokit.choice.facility.fair_interval",
        "entrokit.choice.facility.best_response_equilibrium",
        "entrokit.choice.facility.find_manipulation",
        "entrokit.choice.facility.manipulability",
        "entrokit.choice.facility.best_welfare_ratio",
    ),
    recipes=(),
    example=(
        "from entrokit.choice.facility import average, find_manipulation, uniform_phantom\n"
        "print(average([0.1, 0.2, 0.9]), uniform_phantom([0.1, 0.2, 0.9]))\n"
        "print(find_manipulation(average, n=3))\n"
        "print(find_manipulation(uniform_phantom, n=3))  # None: nobody gains by a lie"
    ),
    experiments={
        "axioms": Experiment(
            axioms,
            seeds=5,
            minutes=2,
            criterion="two to six agents, all phantoms of a grid on all profiles of a grid: proportionality, UFS and "
            "PF are kept by uniform phantoms alone, IFS by those within 1/n and 1 - 1/n alone; no nearly uniform "
            "vector keeps one of the three",
        ),
        "ratios": Experiment(
            ratios,
            seeds=5,
            minutes=1,
            criterion="two to eight agents, all profiles of a grid: worst welfare ratios of the uniform phantom and of "
            "the constrained median are the formulas', and no phantom median with IFS is better; the worst cost ratio "
            "is n - 1; no random profile is worse",
        ),
        "equilibria": Experiment(
            equilibria,
            seeds=5,
            minutes=4,
            criterion="cyclic best replies under three rules with UFS settle in nine of ten random profiles, all at "
            "the uniform phantom of the truth (1e-9); under the quadratic mean half are elsewhere; under the average "
            "at most three sweeps",
        ),
        "manipulation": Experiment(
            manipulation,
            seeds=5,
            minutes=0.5,
            criterion="no gain above 1e-9 against phantom medians, by search over misreports and over profiles; "
            "average and midpoint gamed in half of random profiles, the mean of the middle two in a tenth; only the "
            "uniform phantom and the average keep PF",
        ),
    },
)
