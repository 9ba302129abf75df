"""Schools of the four configurations: how ordered they are, and how densely a run has to be saved."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from entrokit.papers.told import spread
from entrokit.physics.schooling import PRESETS, SchoolSeries, Trajectory, school_series, second_half
from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Budget, Finding

SAVE_EVERY = 10
# Of NumPy's old generator, as the released configurations begin.
RELEASED_SEEDS = {"swarm": 42, "highly_parallel": 789}
DENSITIES = (5, 25, 100)


@dataclass(frozen=True)
class Measured:
    """A configuration's schools, one a seed: its series, and means of their second halves by measure."""

    series: SchoolSeries
    means: Mapping[str, Sequence[float]]


def states(budget: Budget) -> Iterator[Shown]:
    found = {name: _measured(_run(name, len(budget.seeds), budget.seeds[0], SAVE_EVERY)) for name in PRESETS}
    swarm, parallel = found["swarm"].means, found["highly_parallel"].means
    yield from _ends(swarm, parallel)
    index = {name: measured.means["index"] for name, measured in found.items()}
    ordered = max(max(index["dynamic_parallel"]), max(index["highly_parallel"]))
    yield Finding(
        "The index orders the states.",
        "swarm above torus above both parallel ones, the least of one above the largest of the next",
        "; ".join(f"{name} {spread(values)}" for name, values in index.items()),
        min(index["swarm"]) > max(index["torus"]) and min(index["torus"]) > ordered,
        "the released code again: 0.71, 0.48 to 0.61, 0.30 and 0.26 to 0.31",
        index,
    )
    torus = found["torus"]
    begins = torus.series.values["rotation"][0].tolist()
    yield Finding(
        "The torus begins as a mill and does not stay one.",
        "every seed: M > 0.9 at the start, its mean over the second half < 0.6",
        f"from {spread(begins)} to {spread(torus.means['rotation'])}",
        min(begins) > 0.9 and max(torus.means["rotation"]) < 0.6,
        "authors' log: M 0.276; the released code again: from 0.952 to 0.10 to 0.48",
        {"M at the start": begins, "M, second half": torus.means["rotation"]},
    )
    yield Chart(
        "The index over time, means over seeds",
        "time",
        "Oceanic Schooling Index",
        tuple(
            Series(name, m.series.times.tolist(), m.series.values["index"].mean(1).tolist())
            for name, m in found.items()
        ),
        height=420,
    )
    entropies = [name for name in swarm if name not in ("polarization", "rotation", "spread", "index")]
    yield Chart(
        "Seven entropies, second half (range over seeds)",
        "",
        "entropy over its largest",
        tuple(
            Series(
                name,
                [entropy.removesuffix("_entropy").replace("_", " ") for entropy in entropies],
                [statistics.fmean(m.means[entropy]) for entropy in entropies],
                marks=True,
                low=[min(m.means[entropy]) for entropy in entropies],
                high=[max(m.means[entropy]) for entropy in entropies],
            )
            for name, m in found.items()
        ),
        height=460,
    )


def released_start(budget: Budget) -> Iterator[Shown]:
    found = {}
    for name, seed in RELEASED_SEEDS.items():
        preset = PRESETS[name]
        draws = np.random.RandomState(seed)
        x = torch.from_numpy(draws.rand(preset.agents, 3) * preset.model.box)
        v = torch.from_numpy(draws.randn(preset.agents, 3))
        schools = len(budget.seeds), preset.agents, 3
        g = torch.Generator().manual_seed(budget.seeds[0])
        run = preset.model.run(
            x.expand(schools), v.expand(schools), preset.steps, preset.dt, save_every=SAVE_EVERY, generator=g
        )
        found[name] = _measured(run).means
    yield from _ends(found["swarm"], found["highly_parallel"])


def density(budget: Budget) -> Iterator[Shown]:
    apart: dict[str, list[float]] = {}
    series = []
    for name in ("swarm", "highly_parallel"):
        whole = _measured(_run(name, len(budget.seeds), budget.seeds[0], 1)).series
        index = whole.values["index"]
        every = second_half(index)[0]
        for step in DENSITIES:
            gaps = second_half(index[::step])[0] - every
            apart[f"{name}, every {step}"] = gaps.tolist()
        shown = [1, *DENSITIES]
        means = [second_half(index[::step])[0] for step in shown]
        series.append(
            Series(
                name,
                shown,
                [float(m.mean()) for m in means],
                marks=True,
                low=[float(m.min()) for m in means],
                high=[float(m.max()) for m in means],
            )
        )
    worst = {name: max(map(abs, gaps)) for name, gaps in apart.items()}
    yield Finding(
        "How densely a run is saved does not matter.",
        "every seed, mean index of the second half: every 5th and every 25th step within 0.01 of every step",
        "largest: " + "; ".join(f"{name} {gap:.4f}" for name, gap in worst.items()),
        all(gap <= 0.01 for name, gap in worst.items() if not name.endswith("100")),
        "",
        apart,
    )
    yield Chart("The index of frames that lie apart", "steps from frame to frame", "mean index", tuple(series))


def _ends(swarm: Mapping[str, Sequence[float]], parallel: Mapping[str, Sequence[float]]) -> Iterator[Finding]:
    """Verdicts on the two states whose numbers the abstract has."""
    yield Finding(
        "A swarm is disordered: P < 0.1, an index of about 0.71.",
        "every seed, means of the second half: P < 0.13, index within 0.68 to 0.74, velocity correlation > 0.99",
        _said(swarm, "polarization", "index", "velocity_correlation_entropy"),
        max(swarm["polarization"]) < 0.13
        and min(swarm["index"]) > 0.68
        and max(swarm["index"]) < 0.74
        and min(swarm["velocity_correlation_entropy"]) > 0.99,
        "abstract: P < 0.1, 0.71; the released code again, 5 to 8 runs: 0.706 to 0.713",
        _raw(swarm, "polarization", "index", "velocity_correlation_entropy"),
    )
    yield Finding(
        "A highly parallel school is ordered: P of 0.998, an index of 0.24.",
        "every seed, means of the second half: P > 0.99, index < 0.36, velocity correlation < 0.02",
        _said(parallel, "polarization", "index", "velocity_correlation_entropy"),
        min(parallel["polarization"]) > 0.99
        and max(parallel["index"]) < 0.36
        and max(parallel["velocity_correlation_entropy"]) < 0.02,
        "abstract: P 0.998, 0.24; the released code again, 5 to 8 runs: 0.26 to 0.31, velocity correlation <= 0.0014",
        _raw(parallel, "polarization", "index", "velocity_correlation_entropy"),
    )


def _run(name: str, schools: int, seed: int, save_every: int) -> Trajectory:
    preset = PRESETS[name]
    g = torch.Generator().manual_seed(seed)
    x, v = preset.start(schools, generator=g)
    return preset.model.run(x, v, preset.steps, preset.dt, save_every=save_every, generator=g)


def _measured(run: Trajectory) -> Measured:
    series = school_series(run.times, run.positions, run.velocities, run.box)
    return Measured(series, {name: _listed(mean) for name, (mean, _) in series.summary().items()})


def _listed(values: Tensor) -> list[float]:
    return [float(value) for value in values]


def _raw(means: Mapping[str, Sequence[float]], *names: str) -> dict[str, Sequence[float]]:
    return {name: means[name] for name in names}


def _said(means: Mapping[str, Sequence[float]], *names: str) -> str:
    return "; ".join(f"{name} {spread(means[name])}" for name in names)
