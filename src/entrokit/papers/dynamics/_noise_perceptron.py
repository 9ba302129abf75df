"""The perceptron of the entry on regimes of SGD: its crossover in T, its exponents in P."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from entrokit.dynamics.noise import (
    PerceptronRuns,
    PerceptronTheory,
    PowerLaw,
    depleted_sign,
    fit_power_law,
    train_perceptrons,
)
from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Budget, Finding

CROSSOVER = tuple(10.0**k for k in (-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2))
SIZES = {1.0: (256, 512, 1024, 2048, 4096), 0.0: (128, 256, 512, 1024)}


def perceptron(budget: Budget) -> Iterator[Shown]:
    runs = {temp: _perceptrons(32, 8, 1.0, 1.0, temp, budget.seeds) for temp in CROSSOVER}
    yield _crossover(runs)
    yield Chart(
        "Perceptron of 32 points, α = 1: what it takes to fit them all",
        "log10 T",
        "log10 of the mean over seeds",
        tuple(
            Series(name, [math.log10(t) for t in CROSSOVER], [math.log10(_geometric(value(r))) for r in runs.values()])
            for name, value in (("w_1", _signal), ("‖w_⊥‖", _noise), ("t*", _time))
        ),
    )
    sweeps = {chi: {P: _perceptrons(P, 16, chi, 1e6, 1.0, budget.seeds) for P in sizes} for chi, sizes in SIZES.items()}
    yield _exponents(sweeps)
    lines = []
    for chi, by_size in sweeps.items():
        log_P = [math.log10(P) for P in by_size]
        ratios = [math.log10(_geometric(_signal(r) / _noise(r))) for r in by_size.values()]
        law = [math.log10(PerceptronTheory(chi).stopping_ratio(P)) for P in by_size]
        lines += [Series(f"χ = {chi:g}", log_P, ratios, marks=True), Series(f"χ = {chi:g}, theory", log_P, law)]
    yield Chart("Signal over noise when the last point is fitted", "log10 P", "log10 λ", tuple(lines))


def _perceptrons(P: int, d: int, chi: float, alpha: float, temp: float, seeds: Sequence[int]) -> PerceptronRuns:
    data = [depleted_sign(P, d, chi, torch.Generator().manual_seed(seed)) for seed in seeds]
    X, y = (torch.stack(parts) for parts in zip(*data, strict=True))
    return train_perceptrons(X, y, alpha=alpha, temp=temp, seeds=seeds)


def _signal(runs: PerceptronRuns) -> Tensor:
    return runs.signal


def _noise(runs: PerceptronRuns) -> Tensor:
    return runs.noise


def _time(runs: PerceptronRuns) -> Tensor:
    return runs.time


def _geometric(values: Tensor) -> float:
    return float(values.log().mean().exp())


def _crossover(runs: dict[float, PerceptronRuns]) -> Finding:
    mean = {temp: _geometric(run.signal) for temp, run in runs.items()}
    below, above = mean[CROSSOVER[2]] / mean[CROSSOVER[1]], mean[100.0] / mean[10.0]
    return Finding(
        "Noise decides how large the informative weight becomes where αT is above 1, and not below.",
        "perceptron, P = 32, d = 8, χ = 1, α = 1: from T = 0.03 to 0.1 w_1 grows by less than 15 %, from 10 to 100 "
        "more than 6 times (geometric means over seeds)",
        f"{below:.3f} times, {above:.2f} times",
        below < 1.15 and above > 6,
        "independent check: w_1 of 4.81 at T = 0.03, 25.0 at 10, 201 at 100",
        {f"w_1 at T = {temp:.3g}": run.signal.tolist() for temp, run in runs.items()}
        | {f"t* at T = {temp:.3g}": run.time.tolist() for temp, run in runs.items()},
    )


def _exponents(sweeps: dict[float, dict[int, PerceptronRuns]]) -> Finding:
    found: dict[tuple[float, str], PowerLaw] = {}
    raw: dict[str, list[float]] = {}
    for chi, by_size in sweeps.items():
        sizes = [P for P, run in by_size.items() for _ in run.time]
        for name, values in (
            ("λ*", [float(v) for run in by_size.values() for v in run.signal / run.noise]),
            ("t*", [float(v) for run in by_size.values() for v in run.time]),
        ):
            found[chi, name] = fit_power_law(sizes, values)
            raw |= {
                f"{name}, χ = {chi:g}, P = {P}": [v for p, v in zip(sizes, values, strict=True) if p == P]
                for P in by_size
            }
    bands = {(1.0, "λ*"): (0.35, 0.6), (1.0, "t*"): (1.3, 2.2), (0.0, "λ*"): (0.8, 1.2), (0.0, "t*"): (2.0, 3.2)}
    inside = all(low <= found[key].exponent <= high for key, (low, high) in bands.items())
    theory = {chi: (PerceptronTheory(chi).signal_exponent, PerceptronTheory(chi).time_exponent) for chi in sweeps}
    return Finding(
        "Fitting more points takes more signal and more time, as powers of P that the density at the boundary sets.",
        "d = 16, αT = 1e6: slopes of ln λ* and ln t* in ln P within 0.35 to 0.6 and 1.3 to 2.2 at χ = 1, within 0.8 to "
        "1.2 and 2 to 3.2 at χ = 0; λ* steeper at χ = 0",
        "; ".join(
            f"χ = {chi:g}: {name} {law.exponent:.2f} ± {law.stderr:.2f} (theory {theory[chi][name == 't*']:g})"
            for (chi, name), law in found.items()
        ),
        inside and found[0.0, "λ*"].exponent > found[1.0, "λ*"].exponent,
        "independent check: 0.48 and 1.59; 1.01 and 2.38",
        raw,
    )
