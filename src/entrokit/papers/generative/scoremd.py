"""Energies of diffusion held to the Fokker-Planck equation: whether what samples well then simulates well, too."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from entrokit.diagnose import paired_difference
from entrokit.report import Chart, Series

from ..claims import judge_interval, measured
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._energy_toy import ARMS, toy_arms
from ._mueller_brown_arms import mueller_brown_arms

# Nats by which one may be worse than another that it is held to be as good as; plain training's are ten times that.
MARGIN = 0.005
Numbers = Mapping[str, Sequence[float]]
"""One a seed, by arms."""


def toy(budget: Budget) -> Iterator[Shown]:
    found = [toy_arms(seed) for seed in budget.seeds]

    def of(what: str) -> dict[str, list[float]]:
        return {arm: [run[arm][what] for run in found] for arm in ARMS}

    js, squares, error, seconds = of("js"), of("squares"), of("error"), of("seconds")
    for arm in ("weak", "shared"):
        yield _ratio(
            f"The penalty repairs the energy of the data ({arm} form).",
            f"Jensen-Shannon divergence to the law of the data, {arm} over plain: at most 0.3 on every seed",
            js,
            arm,
            0.3,
            "independent check, weak form: 0.07, 0.05, 0.07 plain; 0.005, 0.007, 0.003",
        )
        yield _ratio(
            f"The residual becomes small ({arm} form).",
            f"mean square of the exact residual at t in [0.001, 0.051], {arm} over plain: at most 1/50 on every seed",
            squares,
            arm,
            0.02,
            "independent check: 570 to 1020 plain",
        )
        mean, plain = statistics.fmean(error[arm]), statistics.fmean(error["plain"])
        yield Finding(
            f"The score does not pay for it ({arm} form).",
            f"mean square error of the score by sigma², mean over seeds, {arm} over plain: at most 1.05",
            f"{mean / plain:.3f} ({mean:.5f} over {plain:.5f})",
            mean <= 1.05 * plain,
            "independent check: not worse",
            {name: error[name] for name in ("plain", arm)},
        )
    gap = paired_difference(js["shared"], js["weak"])
    yield Finding(
        "Sharing evaluations costs nothing in the energy.",
        f"Jensen-Shannon divergence, shared minus weak: 95 % Student interval over seeds below {MARGIN}",
        measured(gap),
        gap.high < MARGIN,
        "",
        {name: js[name] for name in ("shared", "weak")},
    )
    yield judge_interval(
        "Plain training of twice the length does not do the same.",
        "Jensen-Shannon divergence, shared minus plain of twice the steps",
        "nats",
        js["shared"],
        js["plain, twice as long"],
        {name: js[name] for name in ("shared", "plain, twice as long")},
        above=False,
    )
    yield _cost("Sharing evaluations, training with the penalty takes at most three times plain.", seconds, "shared")
    for title, label, of_arms, line in (
        ("The energy of the toy", "Jensen-Shannon divergence, nats", js, None),
        ("What the energy gives to the smaller mode", "mass", of("mass"), 0.2),
    ):
        yield Chart(title, "bars: range over seeds", label, (_series("mean", of_arms),), y_line=line)
    yield Chart(
        "The residual at t in [0.001, 0.051]",
        "bars: range over seeds",
        "log10 of its mean square",
        (_series("mean", squares, log=True),),
    )


def mueller_brown(budget: Budget) -> Iterator[Shown]:
    found = [mueller_brown_arms(seed) for seed in budget.seeds]

    def of(what: str) -> dict[str, list[float]]:
        return {arm: [run[arm][what] for run in found] for arm in found[0] if what in found[0][arm]}

    drawn, simulated, energies = of("samples"), of("simulation"), of("energy")
    what = "Jensen-Shannon divergence of simulation to the law"
    paper = "samples, simulation: plain .0122, .0448; experts .0109, .0254; FP .0130, .0166; both .0110, .0108"
    for own, other, claim in (
        ("FP", "plain", "With the penalty, the energy simulates better."),
        ("experts", "plain", "With experts of time, the energy simulates better."),
        ("both", "plain", "With both it does."),
        ("both", "FP", "Experts add to the penalty."),
        ("both", "plain, its best t", "Both beat the plain energy of the time that simulates best."),
    ):
        yield judge_interval(
            claim,
            f"{what}, {own} minus {other}",
            "nats",
            simulated[own],
            simulated[other],
            {name: simulated[name] for name in (own, other)},
            above=False,
            reference=paper,
        )
    yield judge_interval(
        "A plain energy simulates worse than it samples.",
        "Jensen-Shannon divergence to the law, plain: simulation minus samples",
        "nats",
        simulated["plain"],
        drawn["plain"],
        {"simulation": simulated["plain"], "samples": drawn["plain"]},
        above=True,
        reference=paper,
    )
    for arm in ("FP", "both"):
        gap = paired_difference(drawn[arm], drawn["plain"])
        yield Finding(
            f"Samples are not the worse for it ({arm}).",
            f"Jensen-Shannon divergence of samples, {arm} minus plain: 95 % Student interval over seeds below {MARGIN}",
            measured(gap),
            gap.high < MARGIN,
            paper,
            {name: drawn[name] for name in (arm, "plain")},
        )
    yield _cost("Training with the penalty takes at most three times plain.", of("seconds"), "FP")
    yield Chart(
        "Müller-Brown: samples and simulation",
        "bars: range over seeds",
        "Jensen-Shannon divergence to the law, nats",
        (_series("samples", drawn), _series("simulation", simulated), _series("energy, on a grid", energies)),
        height=420,
    )


def _ratio(claim: str, criterion: str, of: Numbers, arm: str, most: float, reference: str) -> Finding:
    ratios = [a / b for a, b in zip(of[arm], of["plain"], strict=True)]
    return Finding(
        claim,
        criterion,
        f"{statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f}); means "
        f"{statistics.fmean(of[arm]):.4g} and {statistics.fmean(of['plain']):.4g}",
        max(ratios) <= most,
        reference,
        {name: of[name] for name in ("plain", arm)},
    )


def _cost(claim: str, seconds: Numbers, arm: str) -> Finding:
    costs = {
        name: [a / b for a, b in zip(own, seconds["plain"], strict=True)]
        for name, own in seconds.items()
        if name != "plain"
    }
    return Finding(
        claim,
        f"seconds of the core, {arm} over plain, median over seeds: at most 3",
        "; ".join(f"{name} {statistics.median(v):.2f} ({min(v):.2f} to {max(v):.2f})" for name, v in costs.items()),
        statistics.median(costs[arm]) <= 3,
        "about 6 times, on a GPU",
        costs,
    )


def _series(name: str, of: Numbers, log: bool = False) -> Series:
    """Means over seeds by arms, and their range."""
    values = {arm: [math.log10(v) for v in own] if log else list(own) for arm, own in of.items()}
    means = [statistics.fmean(own) for own in values.values()]
    low, high = ([end(own) for own in values.values()] for end in (min, max))
    return Series(name, list(values), means, marks=True, low=low, high=high)


PAPER = Paper(
    slug="scoremd",
    title="Consistent Sampling and Simulation: Molecular Dynamics with Energy-Based Diffusion Models",
    arxiv="2506.17139",
    year=2025,
    family="generative",
    claim="A diffusion model whose score is the gradient of an energy simulates as well as it samples once its "
    "energies are held to the Fokker-Planck equation.",
    names=(
        "entrokit.generative.energy.EnergyScore",
        "entrokit.generative.energy.fp_residual",
        "entrokit.generative.energy.fp_residual_weak",
        "entrokit.generative.energy.fp_residual_shared",
        "entrokit.generative.energy.FokkerPlanckRegularizer",
        "entrokit.generative.energy.training_loss",
        "entrokit.generative.energy.TimeExperts",
        "entrokit.generative.energy.langevin_simulate",
        "entrokit.generative.energy.sample_sde",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.generative.energy import EnergyScore, fp_residual\n"
        "from entrokit.generative.noising import VariancePreserving\n"
        "model, x = EnergyScore.mlp(2), torch.randn(3, 2)  # untrained: no residual of 0\n"
        "print(model.score(x, 0.5), fp_residual(model, x, 0.5, VariancePreserving()))"
    ),
    experiments={
        "toy": Experiment(
            toy,
            seeds=5,
            minutes=5,
            criterion="on two modes of mass 0.2 and 0.8 the penalty, in the paper's form and in the shared one, takes "
            "the energy's Jensen-Shannon divergence to at most 0.3 of plain training's and the mean square of the "
            "residual to at most 1/50 on every seed, at a score error of at most 1.05 of it; the shared form is not "
            f"worse than the paper's by {MARGIN} nats, better than plain training of twice the steps, and costs at "
            "most three times plain training",
        ),
        "mueller-brown": Experiment(
            mueller_brown,
            seeds=5,
            minutes=20,
            criterion="Jensen-Shannon divergence of Langevin simulation to the law by quadrature is lower with the "
            "penalty, with experts and with both than plain, with both than with the penalty alone and than plain at "
            "the time that simulates best, and plain it is higher than that of samples, each by a 95 % Student "
            f"interval; samples are not worse by {MARGIN} nats with the penalty or both; and the penalty costs at most "
            "three times plain training",
        ),
    },
)
