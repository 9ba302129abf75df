"""Laws that are known: whether a learnt score says how much entropy they make, and where."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Budget, Finding
from ._active_scores import LINEAR, double_well, linear

WITHIN = 0.02
TITLES = {"trap": "a trapped active particle", "rotation": "a rotation in the plane", "three": "three dimensions"}


def known(budget: Budget) -> Iterator[Shown]:
    ratios: dict[str, list[float]] = {}
    for name, system in LINEAR.items():
        exact = system.exact()
        found = [linear(name, seed) for seed in budget.seeds]
        rates = [run.rate for run in found]
        ratios[name] = [rate / exact.epr for rate in rates]
        by_coordinate = exact.epr_by_coordinate.tolist()
        apart = max(abs(a - b) for run in found for a, b in zip(run.parts, by_coordinate, strict=True))
        yield Finding(
            f"The learnt score gives the rate of {TITLES[name]}.",
            f"entropy production, learnt, median over seeds: within {WITHIN:.0%} of the exact {exact.epr:.6f}",
            f"{statistics.median(rates):.4f} ({min(rates):.4f} to {max(rates):.4f})",
            abs(statistics.median(ratios[name]) - 1) < WITHIN,
            "independent check of the trap, 3 seeds: 1.658 to 1.681" if name == "trap" else "",
            {"learnt": rates, "exact score, same samples": [run.exact for run in found]},
        )
        if name == "trap":
            yield Finding(
                "And its parts: position and propulsion.",
                "every seed: the rate within 0.06, each part within 0.04 of the exact one",
                f"farthest rate {max(abs(r - exact.epr) for r in rates):.4f}, farthest part {apart:.4f}",
                max(abs(r - exact.epr) for r in rates) < 0.06 and apart < 0.04,
                "independent check, 3 seeds: position 1.142 to 1.154, propulsion 0.514 to 0.538",
                {part: [run.parts[k] for run in found] for k, part in enumerate(("position", "propulsion"))},
            )
    yield Chart(
        "Entropy production by a learnt score over the exact one",
        "bars: range over seeds; line: exact",
        "ratio",
        (_spread("median", ratios),),
        y_line=1.0,
    )


def wells(budget: Budget) -> Iterator[Shown]:
    found = {lam: [double_well(seed, lam) for seed in budget.seeds] for lam in (0.0, 1.0)}
    ratio, correlation, error = (
        {_weight(lam): [getattr(run, of) for run in runs] for lam, runs in found.items()}
        for of in ("ratio", "correlation", "error")
    )
    plain, held = ratio
    ratios = [r for own in ratio.values() for r in own]
    yield Finding(
        "Of a law that is no Gaussian the rate is right.",
        "learnt over exact on the same samples, both weights, every seed: within 4 %",
        f"{min(ratios):.4f} to {max(ratios):.4f}",
        max(abs(r - 1) for r in ratios) < 0.04,
        "independent check, 3,000 steps: 1.002 without, 0.994 with the equation's term",
        ratio,
    )
    lowest = min(c for own in correlation.values() for c in own)
    yield Finding(
        "So is where it is made.",
        "correlation of local rates, learnt and exact, both weights, every seed: above 0.99",
        f"at least {lowest:.5f}",
        lowest > 0.99,
        "independent check, 3,000 steps: 0.9996",
        correlation,
    )
    yield Finding(
        "The stationary equation's term makes the score no worse.",
        "mean square error of the score over its square, mean over seeds: with weight 1 at most that with 0",
        "; ".join(
            f"{name} {statistics.fmean(own):.5f} ({min(own):.5f} to {max(own):.5f})" for name, own in error.items()
        ),
        statistics.fmean(error[held]) <= statistics.fmean(error[plain]),
        "independent check, 3,000 steps: 0.007 without, 0.003 with",
        error,
    )


def _weight(lam: float) -> str:
    return f"weight {lam:g}"


def _spread(name: str, of: dict[str, list[float]]) -> Series:
    middle = [statistics.median(own) for own in of.values()]
    low, high = ([end(own) for own in of.values()] for end in (min, max))
    return Series(name, list(of), middle, marks=True, low=low, high=high)
