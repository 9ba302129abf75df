"""Zeros of zeta by numbers and by samples: a demonstration, and no evidence on RH."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from entrokit.papers.told import spread
from entrokit.report import Chart, Series
from entrokit.search.zeta import count_zeros, find_critical_zeros, search_zero, smooth_count

from ..entry import Shown
from ..evidence import Budget, Finding
from . import _zeta_errors
from ._told import log10, seeded

HEIGHT, KNOWN_ZEROS = 1000.0, 649
ZERO_WINDOWS = {(10.0, 18.0): 14.134725141734695, (18.0, 23.0): 21.022039638771556, (23.0, 28.0): 25.010857580145689}
NO_ZERO, TWO_ZEROS = (3.0, 12.0), (20.0, 26.0)


def shown(budget: Budget) -> Iterator[Shown]:
    measured = [_zeta_errors.errors(seed) for seed in budget.seeds]
    worst = {name: [max(run[name][i] for run in measured) for i in range(6)] for name in ("ζ", "Z", "θ")}
    heights = [float(height) for height in _zeta_errors.WINDOWS]
    inside = [e for height, e in zip(heights, worst["ζ"], strict=True) if height <= HEIGHT]
    yield Finding(
        "ζ in double precision agrees with mpmath where double precision can.",
        "20 points a window and seed, 0 ≤ σ ≤ 1, windows up to t = 1,000: within 1e-12 of max(1, |ζ|), all of them",
        "; ".join(f"up to {height:g}: {error:.1e}" for height, error in zip(heights, worst["ζ"], strict=True)),
        max(inside) <= 1e-12,
        "mpmath at 30 digits",
        {f"{name}, up to {h:g}": [run[name][i] for run in measured] for name in worst for i, h in enumerate(heights)},
    )
    found = find_critical_zeros(1.0, HEIGHT)
    exact = torch.tensor(_zeta_errors.zeros(100), dtype=torch.float64)
    off = float((found[:100] - exact).abs().max())
    yield Finding(
        "Changes of sign on the line are as many as the argument principle counts in the strip.",
        f"up to t = 1,000: {KNOWN_ZEROS} of each, and the first 100 within 1e-12 of mpmath's. A check of numbers up to "
        "there, and nothing beyond",
        f"{len(found)}, off by {off:.1e} at most; N - (θ/π + 1) = {len(found) - float(smooth_count(HEIGHT)):+.3f}",
        len(found) == KNOWN_ZEROS and off <= 1e-12,
        raw={"zeros": [len(found)], "largest error": [off]},
    )
    runs = {w: [search_zero(*w, generator=seeded(s)) for s in budget.seeds] for w in ZERO_WINDOWS}
    sigma = [abs(run.s.real - 0.5) for own in runs.values() for run in own]
    height_off = [abs(run.s.imag - ZERO_WINDOWS[w]) for w, own in runs.items() for run in own]
    yield Finding(
        "Sampling finds a zero in a window that has one, although it starts off the line.",
        "three windows, start σ = 0.7 ± 0.3, every seed: accepted, σ within 1e-8 of 0.5 and t within 1e-6 of the zero",
        f"σ off by {max(sigma):.1e}, t by {max(height_off):.1e} at most",
        all(run.accepted for own in runs.values() for run in own) and max(sigma) <= 1e-8 and max(height_off) <= 1e-6,
        "independent check: 31 iterations, these bounds",
        {"σ - 1/2": sigma, "t off": height_off, "iterations": [len(r.history) for own in runs.values() for r in own]},
    )
    control = [search_zero(*NO_ZERO, generator=seeded(s)) for s in budget.seeds]
    yield Finding(
        "Where there is no zero the search ends all the same, and is refused.",
        "window 3 to 12, every seed: ends with |ζ| above 0.1 and is not accepted",
        f"|ζ| {spread([run.modulus for run in control], '.6f')} at {control[0].s.real:g} + {control[0].s.imag:g}i",
        all(run.modulus > 0.1 and not run.accepted for run in control),
        "independent check: 0.440794 in the corner 0 + 3i",
        {"|ζ|": [run.modulus for run in control]},
    )
    two = [search_zero(*TWO_ZEROS, generator=seeded(s)) for s in budget.seeds]
    counted = count_zeros((0.0, 1.0), TWO_ZEROS)
    yield Finding(
        "Of two zeros in a window a run finds one: not to have met a zero means nothing.",
        "window 20 to 26, every seed: the argument principle counts two, a run ends on one",
        f"{counted} counted; runs end at t = {', '.join(f'{run.s.imag:.3f}' for run in two)}",
        counted == 2 and all(run.accepted for run in two),
        "ours",
        {"t": [run.s.imag for run in two], "counted": [counted]},
    )
    yield Chart(
        "Largest distance from mpmath",
        "height t, log10",
        "error, log10",
        tuple(Series(name, [math.log10(h) for h in heights], [log10(e) for e in own]) for name, own in worst.items()),
        y_line=-12.0,
    )
    yield Chart(
        "Cross-entropy search: best |ζ| so far, one seed",
        "iteration",
        "|ζ|, log10",
        tuple(
            Series(f"window {w[0]:g} to {w[1]:g}", list(range(len(run.history))), [log10(h.best) for h in run.history])
            for w, run in [*((w, own[0]) for w, own in runs.items()), (NO_ZERO, control[0])]
        ),
        y_line=-8.0,
    )
