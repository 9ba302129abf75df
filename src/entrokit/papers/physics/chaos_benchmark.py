"""Chaos as a benchmark: what makes a flow hard to forecast, measured by invariants of its attractor."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from entrokit.papers.told import spread
from entrokit.physics.chaos import (
    Halvorsen,
    LinearAutoregression,
    Lorenz,
    MeanForecaster,
    NearestAnalogue,
    Rossler,
    forecast_error,
    sample_flow,
    starts_on_attractor,
)
from entrokit.report import Chart, Series

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._chaos_difficulty import difficulty, fifteen_flows, spearman
from ._chaos_known import known_exponents
from ._chaos_training import Reference, trained_by_rounds, trained_on_reference

# Points a period and periods of the paper's coarse protocol.
COARSE, PERIODS = 15, 12


def claim(budget: Budget) -> Iterator[Shown]:
    flows = fifteen_flows()
    of = difficulty(flows, len(budget.seeds))
    by = {name: spearman(of[name], of["error"]) for name in of if name != "error"}
    nothing = [0.0] * len(budget.seeds)
    chaotic, per_time = by["λ1 T"], by["λ1"]
    yield Finding(
        "The more chaotic a flow, the larger the error of a forecast.",
        "Spearman correlation over 15 flows of λ1 T and the error of the nearest analogue: mean over seeds at least "
        "0.5, and above 0 in every seed",
        spread(chaotic),
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


def known(budget: Budget) -> Iterator[Shown]:
    yield from known_exponents(budget)


def protocol(budget: Budget) -> Iterator[Shown]:
    flows = fifteen_flows()
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
    said = "; ".join(f"{name} {spread(values, '.1f')}" for name, values in arms.items())
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
