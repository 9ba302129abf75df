"""Chaos as a benchmark: what makes a flow hard to forecast, measured by invariants of its attractor."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from entrokit.physics.chaos import (
    SYSTEMS,
    LinearAutoregression,
    MeanForecaster,
    NearestAnalogue,
    correlation_dimension,
    forecast_error,
    henon,
    logistic,
    lyapunov_spectrum,
    map_lyapunov_spectrum,
    multiscale_entropy,
    sample_entropy,
    sample_flow,
    spectrum_of_tangents,
    starts_on_attractor,
)
from entrokit.physics.chaos.flow import Flow
from entrokit.physics.chaos.integrate import rk4
from entrokit.physics.chaos.systems import Chen, Halvorsen, Lorenz, Rossler
from entrokit.report import Chart, Series

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._chaos_training import Reference, trained_by_rounds, trained_on_reference

# The independent check's: points per period, points of the library and of the whole.
PER_PERIOD, LIBRARY, POINTS = 30, 3000, 3600
# Steps of Runge-Kutta a period.
STEPS = 300
COARSE, PERIODS = 15, 12
TRAJECTORIES = 32
# Largest exponents of the literature; Sprott, Chaos and Time-Series Analysis (2003), and ln 2.
KNOWN = {"Lorenz": 0.9056, "Rössler": 0.0714, "Chen": 2.0272, "Hénon": 0.41922, "logistic": math.log(2)}

Table = dict[str, list[list[float]]]
"""By name, of every flow its numbers, one a seed."""


def claim(budget: Budget) -> Iterator[Shown]:
    flows = _flows()
    of = _difficulty(flows, len(budget.seeds))
    by = {name: _spearman(of[name], of["error"]) for name in of if name != "error"}
    nothing = [0.0] * len(budget.seeds)
    chaotic, per_time = by["λ1 T"], by["λ1"]
    yield Finding(
        "The more chaotic a flow, the larger the error of a forecast.",
        "Spearman correlation over 15 flows of λ1 T and the error of the nearest analogue: mean over seeds at least "
        "0.5, and above 0 in every seed",
        _spread(chaotic),
        statistics.fmean(chaotic) >= 0.5 and min(chaotic) > 0,
        "independent check: 0.81 over 16 flows; paper, whole forecasts over 131 flows: 0.24 to 0.42 with λ1",
        by,
    )
    yield judge_interval(
        "Exponents of flows compare per period, not per unit time.",
        "Spearman correlation of the error with λ1 T minus that with λ1",
        "",
        chaotic,
        per_time,
        {"λ1 T": chaotic, "λ1": per_time},
        above=True,
        reference="independent check: 0.81 and 0.58",
    )
    for name, reference in (("multiscale entropy", "paper, N-BEATS: 0.40"), ("correlation dimension", "paper: 0.24")):
        yield judge_interval(
            f"The {name} goes with the error, too.",
            f"Spearman correlation of the error with the {name}",
            "",
            by[name],
            nothing,
            {name: by[name]},
            above=True,
            reference=reference,
        )
    errors, exponents = ([statistics.fmean(row) for row in of[name]] for name in ("error", "λ1 T"))
    marks = Series(
        "a flow",
        exponents,
        errors,
        marks=True,
        low=[min(row) for row in of["error"]],
        high=[max(row) for row in of["error"]],
        labels=[flow.name for flow in flows],
    )
    yield Chart(
        "Forecast error against the exponent",
        "λ1 T, nats a period (bars: range over seeds)",
        "RMS error, standard deviations",
        (marks,),
        height=560,
    )


def _flows() -> list[Flow]:
    made: Sequence[Callable[[], Flow]] = SYSTEMS
    return [system() for system in made]


def _difficulty(flows: Sequence[Flow], seeds: int) -> Table:
    """Errors of nearest analogues and the invariants, of every flow from as many starts as there are seeds."""
    found: Table = {name: [] for name in ("error", "λ1 T", "λ1", "multiscale entropy", "correlation dimension")}
    for flow in flows:
        starts = starts_on_attractor(flow, seeds)
        x = sample_flow(flow, POINTS, PER_PERIOD, start=starts, transient=0, steps_per_period=STEPS)
        x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
        largest = lyapunov_spectrum(flow, starts, flow.period / STEPS, 20 * STEPS, transient=2 * STEPS)[:, 0]
        found["error"].append([_analogue_error(series) for series in x])
        found["λ1"].append(largest.tolist())
        found["λ1 T"].append((largest * flow.period).tolist())
        index = multiscale_entropy(x[:, :1200].mT).index
        found["multiscale entropy"].append(index.quantile(0.5, dim=1).tolist())
        found["correlation dimension"].append(
            [correlation_dimension(series[:LIBRARY], theiler=PER_PERIOD) for series in x]
        )
    return found


def _analogue_error(series: Tensor) -> float:
    """Mean RMS distance, over the next period, of the truth from what followed the nearest state of the library."""
    begins = range(LIBRARY, POINTS - PER_PERIOD, 10)
    states = torch.stack([series[i : i + 1] for i in begins])
    forecast = NearestAnalogue().fit(series[:LIBRARY]).predict(PER_PERIOD, states)
    truth = torch.stack([series[i + 1 : i + 1 + PER_PERIOD] for i in begins])
    return float((forecast - truth).square().mean(-1).sqrt().mean())


def _spearman(invariant: list[list[float]], error: list[list[float]]) -> list[float]:
    """A correlation over flows for each seed."""
    from scipy.stats import spearmanr

    pairs = zip(zip(*invariant, strict=True), zip(*error, strict=True), strict=True)
    return [float(spearmanr(own, other).statistic) for own, other in pairs]


def protocol(budget: Budget) -> Iterator[Shown]:
    flows = _flows()
    made: dict[str, Callable[[], MeanForecaster | LinearAutoregression | NearestAnalogue]] = {
        "mean": MeanForecaster,
        "linear": lambda: LinearAutoregression(lags=COARSE // 3),
        "nearest analogue": lambda: NearestAnalogue(lags=COARSE // 3),
    }
    errors: dict[str, list[list[float]]] = {name: [] for name in made}
    for flow in flows:
        starts = starts_on_attractor(flow, len(budget.seeds))
        x = sample_flow(flow, COARSE * PERIODS, COARSE, start=starts, transient=0)[..., :1]
        for name, forecaster in made.items():
            errors[name].append([forecast_error(forecaster(), series, len(series) * 5 // 6)[0] for series in x])
    medians = {name: [statistics.median(own) for own in zip(*rows, strict=True)] for name, rows in errors.items()}
    for name, reference in (("linear", "paper, medians over 131 flows: 105 against 154"), ("nearest analogue", "ours")):
        yield judge_interval(
            f"On two periods from 150 points the {name} forecaster beats the mean.",
            f"median sMAPE over 15 flows, coordinate 0 at {COARSE} points a period: {name} minus mean",
            "",
            medians[name],
            medians["mean"],
            {name: medians[name], "mean": medians["mean"]},
            above=False,
            reference=reference,
        )
    names = [flow.name for flow in flows]
    series = (
        Series(name, names, [statistics.median(row) for row in rows], marks=True) for name, rows in errors.items()
    )
    yield Chart("sMAPE of the last two periods", "", "median over seeds", tuple(series), height=420)


def known(budget: Budget) -> Iterator[Shown]:
    seeds = len(budget.seeds)
    flows = {"Lorenz": Lorenz(beta=8 / 3), "Rössler": Rossler(), "Chen": Chen()}
    begun = {name: _spread_starts(flow, seeds) for name, flow in flows.items()}
    spectra = {name: _flow_spectra(flow, begun[name]) for name, flow in flows.items()}
    spectra["Hénon"] = _map_spectra(henon(), 2, seeds)
    spectra["logistic"] = _map_spectra(logistic(), 1, seeds)
    largest = {name: found[:, 0].tolist() for name, found in spectra.items()}
    off = {name: abs(statistics.fmean(largest[name]) / value - 1) for name, value in KNOWN.items()}
    yield Finding(
        "Largest exponents are those of the literature.",
        "mean over seeds within 3 % for Lorenz, Rössler, Chen, Hénon and the logistic map",
        "; ".join(f"{name} {_spread(largest[name], '.4f')}, known {KNOWN[name]:.4f}" for name in KNOWN),
        max(off.values()) <= 0.03,
        "Sprott, Chaos and Time-Series Analysis; ln 2",
        largest,
    )
    traces = {
        "Lorenz": (spectra["Lorenz"].sum(-1) + 41 / 3).abs().tolist(),
        "Hénon": (spectra["Hénon"].sum(-1) - math.log(0.3)).abs().tolist(),
    }
    yield Finding(
        "Exponents add up to the divergence.",
        "every seed: Lorenz to -41/3 within 1e-3, Hénon to ln 0.3 within 1e-8",
        "; ".join(f"{name} off by at most {max(own):.1e}" for name, own in traces.items()),
        max(traces["Lorenz"]) < 1e-3 and max(traces["Hénon"]) < 1e-8,
        "",
        traces,
    )
    annotated, exact = _tangents_compared(flows["Lorenz"], begun["Lorenz"])
    yield judge_interval(
        "The annotated spectra are too chaotic: their tangent steps are Euler's.",
        "λ1 of Lorenz, tangents I + J T/500 minus tangents of the Runge-Kutta step",
        "nats",
        annotated,
        exact,
        {"Euler": annotated, "Runge-Kutta": exact},
        above=True,
        reference="annotated: 1.0911; independent check: 1.022 against 0.906",
    )
    lorenz = sample_flow(flows["Lorenz"], 4000, 10, start=begun["Lorenz"][::TRAJECTORIES], transient=0)
    g = torch.Generator().manual_seed(budget.seeds[0])
    noise = torch.randn(seeds, 4000, generator=g, dtype=torch.float64)
    dimensions = [correlation_dimension(own, r_min=0.05, r_max=0.3, theiler=10) for own in lorenz]
    entropies = sample_entropy(noise).tolist()
    yield Finding(
        "Dimension and entropy are those of the literature.",
        "means over seeds: correlation dimension of Lorenz within 0.1 of 2.05, sample entropy of Gaussian noise within "
        "0.02 of -ln erf(0.1) = 2.185",
        f"dimension {_spread(dimensions)}; entropy {_spread(entropies)}",
        abs(statistics.fmean(dimensions) - 2.05) < 0.1
        and abs(statistics.fmean(entropies) + math.log(math.erf(0.1))) < 0.02,
        "Grassberger and Procaccia (1983): 2.05 ± 0.01",
        {"correlation dimension": dimensions, "sample entropy": entropies},
    )


def _spread_starts(flow: Flow, seeds: int) -> Tensor:
    """``[seeds * TRAJECTORIES, D]``: states of the attractor, from a cloud around one that is on it."""
    g = torch.Generator().manual_seed(0)
    cloud = torch.randn(seeds * TRAJECTORIES, flow.dimension, generator=g, dtype=torch.float64)
    state = starts_on_attractor(flow, 1)
    return rk4(flow, state + 0.1 * cloud, flow.period / 100, 2000, every=2000)[:, -1]


def _flow_spectra(flow: Flow, starts: Tensor) -> Tensor:
    """``[seeds, D]``, each a mean over its trajectories of 20 periods, after 5 in which frames turn."""
    found = lyapunov_spectrum(flow, starts, flow.period / 200, 4000, transient=1000)
    return found.view(-1, TRAJECTORIES, flow.dimension).mean(1)


def _map_spectra(step: Callable[[Tensor], Tensor], dimension: int, seeds: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    starts = 0.1 + 0.1 * torch.rand(seeds * TRAJECTORIES, dimension, generator=g, dtype=torch.float64)
    return map_lyapunov_spectrum(step, starts, 3000, transient=100).view(seeds, TRAJECTORIES, -1).mean(1)


def _tangents_compared(flow: Flow, starts: Tensor) -> tuple[list[float], list[float]]:
    """λ1 by the release's tangents ``I + J dt`` and by ours, along the same 3000 states, a 500th of a period apart."""
    dt, steps = flow.period / 500, 3000
    jacobians = flow.jacobian(rk4(flow, starts, dt, steps)[:, :-1])
    euler = spectrum_of_tangents(torch.eye(flow.dimension, dtype=torch.float64) + dt * jacobians, dt)
    exact = lyapunov_spectrum(flow, starts, dt, steps)
    first, second = (found[:, 0].view(-1, TRAJECTORIES).mean(1).tolist() for found in (euler, exact))
    return first, second


def starts(budget: Budget) -> Iterator[Shown]:
    arms: dict[str, list[float]] = {"importance": [], "uniform": [], "reference": []}
    for seed in budget.seeds:
        own: dict[str, list[float]] = {name: [] for name in arms}
        for flow in (Lorenz(), Rossler(), Halvorsen()):
            reference = Reference.of(flow, starts_on_attractor(flow, seed + 1)[-1])
            own["importance"].append(trained_by_rounds(reference, seed, power=4.0))
            own["uniform"].append(trained_by_rounds(reference, seed, power=0.0))
            own["reference"].append(trained_on_reference(reference, seed))
        for name, values in own.items():
            arms[name].append(statistics.fmean(values))
    said = "; ".join(f"{name} {_spread(values, '.1f')}" for name, values in arms.items())
    yield judge_interval(
        "Series from where a forecaster errs teach more than series from anywhere.",
        "sMAPE of a forecast of two periods, mean over Lorenz, Rössler and Halvorsen: importance minus uniform",
        "",
        arms["importance"],
        arms["uniform"],
        arms,
        above=False,
        reference=f"{said}; paper, 125 flows, sMAPE to 2: means 0.942 and 0.924",
    )
    yield judge_interval(
        "They teach as much as the reference in a fraction of the steps.",
        "sMAPE: importance, 600 steps, minus reference, 1600 steps",
        "",
        arms["importance"],
        arms["reference"],
        {name: arms[name] for name in ("importance", "reference")},
        above=False,
        bound=10.0,
        reference="paper, 125 flows, sMAPE to 2: means 0.942 in 95 s and 0.939 in 190 s",
    )


def _spread(values: Sequence[float], digits: str = ".3f") -> str:
    return f"{statistics.fmean(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


PAPER = Paper(
    slug="chaos-benchmark",
    title="Chaos as an interpretable benchmark for forecasting and data-driven modelling",
    arxiv="2110.05266",
    year=2021,
    family="physics",
    claim="Chaotic flows, each annotated with invariants of its attractor, say why a forecaster fails: its error grows "
    "with how chaotic a flow is.",
    names=(
        "entrokit.physics.chaos.lyapunov_spectrum",
        "entrokit.physics.chaos.kaplan_yorke_dimension",
        "entrokit.physics.chaos.pesin_entropy",
        "entrokit.physics.chaos.sample_entropy",
        "entrokit.physics.chaos.multiscale_entropy",
        "entrokit.physics.chaos.correlation_dimension",
        "entrokit.physics.chaos.random_phase_surrogate",
        "entrokit.physics.chaos.benchmark_forecaster",
        "entrokit.physics.chaos.measure_invariants",
        "entrokit.physics.chaos.hard_series",
        "entrokit.physics.chaos.from_dysts",
    ),
    recipes=(),
    example=(
        "from entrokit.physics.chaos import Lorenz, kaplan_yorke_dimension, lyapunov_spectrum\n"
        "spectrum = lyapunov_spectrum(Lorenz(), [1.0, 1.0, 20.0], 0.02, 1000, transient=100)\n"
        "print(spectrum, kaplan_yorke_dimension(spectrum))"
    ),
    experiments={
        "claim": Experiment(
            claim,
            seeds=5,
            minutes=8,
            needs=("physics",),
            criterion="15 flows, nearest analogues out of 100 periods, errors over the next period: Spearman "
            "correlation with λ1 T of at least 0.5 on the mean and above 0 in every seed; larger than with λ1 (95 % "
            "interval); that with multiscale entropy and with the correlation dimension above 0 (95 % intervals)",
        ),
        "known": Experiment(
            known,
            seeds=5,
            minutes=4,
            needs=("physics",),
            criterion="largest exponents within 3 % of the literature, sums of exponents within 1e-3 (Lorenz) and 1e-8 "
            "(Hénon) of the divergence, Euler's tangents with a larger exponent (95 % interval), the correlation "
            "dimension of Lorenz within 0.1 of 2.05 and the sample entropy of noise within 0.02 of -ln erf(0.1)",
        ),
        "starts": Experiment(
            starts,
            seeds=5,
            minutes=2,
            needs=("physics",),
            criterion="Lorenz, Rössler and Halvorsen, a network of 64 and 64 on 50 lags of coordinate 0, mean sMAPE of "
            "two periods: five rounds of importance sampling below five of uniform starts (95 % interval), and at most "
            "10 above 400 epochs on the reference (upper end of the 95 % interval)",
        ),
        "protocol": Experiment(
            protocol,
            seeds=5,
            minutes=2,
            needs=("physics",),
            criterion="coordinate 0 of 15 flows, 15 points a period, two periods from 150 points: median sMAPE of a "
            "linear autoregression and of nearest analogues below that of the mean (95 % intervals)",
        ),
    },
)
