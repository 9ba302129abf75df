"""Minima that sampling and its peers find in the same number of evaluations."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Budget, Finding
from . import _minima
from ._told import log10, medians


def shown(budget: Budget) -> Iterator[Shown]:
    rivals = _minima.contestants()
    found: dict[str, dict[str, list[float]]] = {}
    for seed in budget.seeds:
        for function, fn in _minima.objectives(seed).items():
            for name, minimise in rivals.items():
                found.setdefault(function, {}).setdefault(name, []).append(minimise(fn, seed))
    middle = {f: {name: statistics.median(own) for name, own in table.items()} for f, table in found.items()}
    sphere, rosenbrock = found["sphere"], found["Rosenbrock"]
    yield Finding(
        "On the sphere it gets to the minimum.",
        "10 dimensions, 10,000 evaluations, every seed: diagonal Gaussians end below 1e-8",
        medians(sphere),
        max(sphere[_minima.DIAGONAL]) < 1e-8,
        raw=sphere,
    )
    yield Finding(
        "CMA-ES is far better along Rosenbrock's curved valley.",
        "every seed: CMA-ES ends lower than either sampler",
        medians(rosenbrock),
        all(
            peer < min(a, b)
            for peer, a, b in zip(*(rosenbrock[n] for n in (_minima.CMA, _minima.DIAGONAL, _minima.FULL)), strict=True)
        ),
        raw=rosenbrock,
    )
    rastrigin = middle["Rastrigin"]
    yield Finding(
        "Among the many minima of Rastrigin's function it is as good as CMA-ES with restarts.",
        "median over seeds: diagonal Gaussians at or below CMA-ES, or both below 1e-8",
        medians(found["Rastrigin"]),
        max(rastrigin[_minima.DIAGONAL], 1e-8) <= max(rastrigin[_minima.CMA], 1e-8),
        raw=found["Rastrigin"],
    )
    ahead = [
        f
        for f, own in middle.items()
        if max(min(own[_minima.DIAGONAL], own[_minima.FULL]), 1e-8)
        <= 10.0 * max(min(own[_minima.CMA], own[_minima.EVOLUTION]), 1e-8)
    ]
    yield Finding(
        "It is as good as the better of its peers on all three.",
        "every function, medians over seeds: the better sampler is below 1e-8 or within 10 times the better peer",
        f"on {len(ahead)} of {len(middle)}: {', '.join(ahead) or 'none'}",
        len(ahead) == len(middle),
        raw={f"{f}, {name}": own for f, table in found.items() for name, own in table.items()},
    )
    names = list(middle)
    yield Chart(
        "10,000 evaluations in ten dimensions",
        "",
        "best value, log10, median and range; not below -16",
        tuple(
            Series(
                name,
                names,
                [log10(middle[f][name]) for f in names],
                marks=True,
                low=[log10(min(found[f][name])) for f in names],
                high=[log10(max(found[f][name])) for f in names],
            )
            for name in rivals
        ),
        height=400,
    )
