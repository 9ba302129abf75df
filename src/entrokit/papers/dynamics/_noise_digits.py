"""Even against odd digits, for the entry on regimes of SGD: the plane of α and T, and what moves with P."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from entrokit.dynamics.noise import (
    MeanFieldMLP,
    NoiseRegimeRunner,
    PhaseDiagram,
    Run,
    critical_temperature,
    fit_power_law,
    grid,
    phase_diagram,
)
from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Budget, Finding

Reals = NDArray[np.float64]

WIDTH, BATCH, TRAIN, LAZY = 32, 16, 1024, 2.0**15
ALPHAS = (2.0**-6, 2.0**-3, 1.0, 2.0**3, 2.0**6, 2.0**9, LAZY)
TEMPS = tuple(2.0**k for k in range(-12, -1, 2))
COLD = TEMPS[:5]
POINTS = (128, 256, 512, 1024)
CHANGED = 0.25


def digits(budget: Budget) -> Iterator[Shown]:
    runner = _on_digits()
    runs = runner.run(grid(ALPHAS, TEMPS, (512,), budget.seeds))
    diagram = phase_diagram(runs, change="kernel")
    yield _useful(runs, diagram)
    yield _opposite(runs, diagram)
    yield _map(diagram)
    yield Chart(
        "Test error of even against odd digits, 512 points",
        "log2 T",
        "mean error of fitted runs (%)",
        tuple(_errors(diagram, a) for a in (0, 2, 4, 6)),
    )


def points(budget: Budget) -> Iterator[Shown]:
    runs = _on_digits().run(grid((LAZY,), COLD, POINTS, budget.seeds))
    by_seed = [[run for run in runs if run.condition.seed == seed] for seed in budget.seeds]
    critical = np.array([[_critical(own, P) for P in POINTS] for own in by_seed])
    falls = np.array([-fit_power_law(POINTS, own).exponent for own in critical])
    # Where the kernel still holds, so that T and P alone set the scale.
    kept = [[r for r in own if r.status == "fitted" and (r.kernel_change or 0.0) < CHANGED] for own in by_seed]
    change = np.array([_law(own, [r.change for r in own]) for own in kept])
    time = np.array([_law(own, [r.time for r in own]) for own in kept])
    yield _laws(change, time, sum(map(len, kept)), len(runs))
    yield _falling(falls, change, critical)
    yield Chart(
        "Temperature at which the tangent kernel has changed by a quarter",
        "log2 P",
        "log2 T_c",
        tuple(
            Series(f"seed {seed}", [math.log2(P) for P in POINTS], np.log2(own).tolist())
            for seed, own in zip(budget.seeds, critical, strict=True)
        ),
    )


def _datasets() -> Any:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("this experiment needs scikit-learn: pip install 'entrokit[information]'") from error
    return datasets


def _on_digits() -> NoiseRegimeRunner:
    data = _datasets().load_digits()
    pixels, digit = torch.from_numpy(data.data).float(), torch.from_numpy(data.target)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    x, y = ((pixels - pixels.mean()) / pixels.std())[order], (2.0 * (digit % 2) - 1)[order].float()
    return NoiseRegimeRunner(
        lambda generator: MeanFieldMLP((64, WIDTH, WIDTH), generator),
        (x[:TRAIN], y[:TRAIN]),
        test=(x[TRAIN:], y[TRAIN:]),
        batch_size=BATCH,
        width=WIDTH,
        max_steps=2500,
        kernel_points=16,
    )


def _error(runs: Sequence[Run], alpha: float, temp: float) -> Reals:
    """Test errors in %, one a seed; NaN where a run was not fitted."""
    cell = [run for run in runs if (run.condition.alpha, run.condition.temp) == (alpha, temp)]
    errors = [run.test_error if run.status == "fitted" else None for run in cell]
    return np.array([math.nan if error is None else 100 * error for error in errors])


def _fitted(diagram: PhaseDiagram, a: int) -> list[float]:
    """Temperatures at which every seed was fitted."""
    return [t for t, share in zip(diagram.temps, diagram.fitted[a], strict=True) if share == 1]


def _lead(difference: Reals) -> tuple[float, float]:
    """Mean over seeds and its standard error."""
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def _useful(runs: Sequence[Run], diagram: PhaseDiagram) -> Finding:
    gains: list[tuple[float, float, float, float]] = []
    losses: list[tuple[float, float, float, float]] = []
    raw: dict[str, list[float]] = {}
    for a, alpha in enumerate(diagram.alphas):
        temps = _fitted(diagram, a)
        if len(temps) < 2:
            continue
        least = _error(runs, alpha, temps[0])
        best = min(temps, key=lambda t: float(_error(runs, alpha, t).mean()))
        for name, temp, into in (("best", best, gains), ("highest", temps[-1], losses)):
            mean, error = _lead(_error(runs, alpha, temp) - least)
            into.append((mean, error, alpha, temp))
            raw[f"α = {alpha:g}, T = {temp:g} ({name}) minus T = {temps[0]:g}"] = (
                _error(runs, alpha, temp) - least
            ).tolist()
    # The clearest of each, by the bound of the criterion.
    gain, loss = min(gains, key=lambda g: g[0] + 2 * g[1]), max(losses, key=lambda g: g[0] - 2 * g[1])
    return Finding(
        "Noise of SGD helps or hurts a net's test error, depending on α and T.",
        "even and odd digits, temperatures at which all seeds are fitted: at some α the best has a lower error than "
        "the lowest by over 2 standard errors (paired), at some α the highest has a greater one by over 2",
        f"clearest help {-gain[0]:.2f} ± {gain[1]:.2f} points (α = {gain[2]:g}, T = {gain[3]:g}); clearest harm "
        f"{loss[0]:.2f} ± {loss[1]:.2f} (α = {loss[2]:g}, T = {loss[3]:g})",
        any(m < -2 * e for m, e, *_ in gains) and any(m > 2 * e for m, e, *_ in losses),
        "paper: so on MNIST and CIFAR-10",
        raw,
    )


def _opposite(runs: Sequence[Run], diagram: PhaseDiagram) -> Finding:
    lazy = _fitted(diagram, len(diagram.alphas) - 1)
    corner = _error(runs, LAZY, lazy[0])
    features = next((a, t) for a, alpha in enumerate(diagram.alphas) for t in _fitted(diagram, a)[:1] if alpha < LAZY)
    alpha, temp = diagram.alphas[features[0]], features[1]
    hot, rich = _error(runs, LAZY, lazy[-1]) - corner, _error(runs, alpha, temp) - corner
    (by_T, error_T), (by_alpha, error_alpha) = _lead(hot), _lead(rich)
    return Finding(
        "Raising T and lowering α both leave the lazy regime, with opposite effects on test error.",
        "from the largest α at its lowest temperature with all seeds fitted: to its highest such, and to the smallest "
        "α at its lowest such, mean error changes with opposite signs, each by over 2 standard errors (paired)",
        f"T from {lazy[0]:g} to {lazy[-1]:g}: {by_T:+.2f} ± {error_T:.2f} points; α from {LAZY:g} to {alpha:g} (T = "
        f"{temp:g}): {by_alpha:+.2f} ± {error_alpha:.2f}",
        by_T * by_alpha < 0 and abs(by_T) > 2 * error_T and abs(by_alpha) > 2 * error_alpha,
        "paper: can have opposite effects",
        {"by T (points)": hot.tolist(), "by α (points)": rich.tolist()},
    )


def _map(diagram: PhaseDiagram) -> Chart:
    cells: dict[str, list[tuple[int, int]]] = {}
    for a, row in enumerate(diagram.regimes(moved=CHANGED)):
        for t, regime in enumerate(row):
            cells.setdefault(regime, []).append((a, t))
    return Chart(
        "Regimes on digits; numbers: test error (%)",
        "log2 T",
        "log2 α",
        tuple(_cells(regime, diagram, cells[regime]) for regime in sorted(cells)),
        height=380,
    )


def _cells(name: str, diagram: PhaseDiagram, at: Sequence[tuple[int, int]]) -> Series:
    errors = [100 * diagram.error[a, t] for a, t in at]
    return Series(
        name,
        [math.log2(diagram.temps[t]) for _, t in at],
        [math.log2(diagram.alphas[a]) for a, _ in at],
        marks=True,
        labels=[f"{error:.0f}" if math.isfinite(error) else "" for error in errors],
    )


def _errors(diagram: PhaseDiagram, a: int) -> Series:
    known = [i for i, e in enumerate(diagram.error[a]) if math.isfinite(e)]
    return Series(
        f"α = 2^{math.log2(diagram.alphas[a]):.0f}",
        [math.log2(diagram.temps[i]) for i in known],
        [100 * float(diagram.error[a, i]) for i in known],
    )


def _critical(runs: Sequence[Run], size: int) -> float:
    own = sorted((r for r in runs if r.condition.size == size), key=lambda r: r.condition.temp)
    # A run that was not fitted has left the lazy regime for good.
    changes = [r.kernel_change if r.status == "fitted" and r.kernel_change else math.nan for r in own]
    found = critical_temperature([r.condition.temp for r in own], changes, CHANGED)
    return math.nan if found is None else found


def _law(runs: Sequence[Run], values: Sequence[float]) -> tuple[float, ...]:
    return fit_power_law([(r.condition.temp, r.condition.size) for r in runs], values).exponents


def _laws(change: Reals, time: Reals, kept: int, runs: int) -> Finding:
    means = [_lead(law[:, k]) for law in (change, time) for k in (0, 1)]
    names = ("weights in T", "weights in P", "t* in T", "t* in P")
    return Finding(
        "Of a lazy net under noise, change of the weights and training time grow as powers of T and of P.",
        "digits, α = 2^15, 128 to 1024 points, where the tangent kernel changes by less than a quarter: all four "
        "exponents are above 0 by over 2 standard errors over seeds",
        "; ".join(f"{name}: {mean:.2f} ± {error:.2f}" for name, (mean, error) in zip(names, means, strict=True))
        + f" ({kept} of {runs} runs)",
        all(mean > 2 * error for mean, error in means),
        "paper: power laws; a perceptron has exponents of 1 in T",
        {name: column.tolist() for name, column in zip(names, np.hstack([change, time]).T, strict=True)},
    )


def _falling(falls: Reals, change: Reals, critical: Reals) -> Finding:
    a, error = _lead(falls)
    ratio = change[:, 1] / change[:, 0]
    apart, apart_error = _lead(falls - ratio)
    return Finding(
        "The temperature above which noise matters falls as a power of P, by the exponents of the weights.",
        "digits, α = 2^15, T_c where the tangent kernel has changed by a quarter: T_c ∝ P^−a with a above 0 by over 2 "
        "standard errors, and a within 2 standard errors of γ/δ, exponents of the weights in P and in T (paired)",
        f"a = {a:.2f} ± {error:.2f}; γ/δ = {ratio.mean():.2f}, apart by {apart:+.2f} ± {apart_error:.2f}",
        a > 2 * error and abs(apart) <= 2 * apart_error,
        "paper: a power law on MNIST and CIFAR-10",
        {"a": falls.tolist(), "γ/δ": ratio.tolist()}
        | {f"T_c, P = {P}": column.tolist() for P, column in zip(POINTS, critical.T, strict=True)},
    )
