"""Entropy production of active matter, by learning the score of its stationary law."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from torch import Tensor

from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from . import _active_crowds as crowds
from ._active_scores import LINEAR, double_well, linear

WITHIN = 0.02
TITLES = {"trap": "a trapped active particle", "rotation": "a rotation in the plane", "three": "three dimensions"}


def known(budget: Budget) -> Iterator[Shown]:
    ratios: dict[str, list[float]] = {}
    for name, system in LINEAR.items():
        exact = system.exact()
        found = [linear(name, seed) for seed in budget.seeds]
        rates = [run.rate for run in found]
        ratios[name] = [rate / exact["epr"] for rate in rates]
        by_coordinate = exact["epr_by_coordinate"].tolist()
        apart = max(abs(a - b) for run in found for a, b in zip(run.parts, by_coordinate, strict=True))
        yield Finding(
            f"The learnt score gives the rate of {TITLES[name]}.",
            f"entropy production, learnt, median over seeds: within {WITHIN:.0%} of the exact {exact['epr']:.6f}",
            f"{statistics.median(rates):.4f} ({min(rates):.4f} to {max(rates):.4f})",
            abs(statistics.median(ratios[name]) - 1) < WITHIN,
            "independent check of the trap, 3 seeds: 1.658 to 1.681" if name == "trap" else "",
            {"learnt": rates, "exact score, same samples": [run.exact for run in found]},
        )
        if name == "trap":
            yield Finding(
                "And its parts: position and propulsion.",
                "every seed: the rate within 0.06, each part within 0.04 of the exact one",
                f"farthest rate {max(abs(r - exact['epr']) for r in rates):.4f}, farthest part {apart:.4f}",
                max(abs(r - exact["epr"]) for r in rates) < 0.06 and apart < 0.04,
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


def particles(budget: Budget) -> Iterator[Shown]:
    own: dict[str, list[crowds.Rates]] = {}
    for seed in budget.seeds:
        for v0 in (0.0, crowds.PROPULSION):
            data = crowds.mixed_states(crowds.COUNT, crowds.PACKING, v0, 128, 5, seed)
            score = crowds.mixed_score(v0, data, seed)
            own.setdefault(f"v0 = {v0:g}", []).append(crowds.mixed_rates(score, data))
            if v0:
                for n, packing in ((64, crowds.PACKING), (crowds.COUNT, 0.2)):
                    other = crowds.mixed_states(n, packing, v0, 512 // n, 5, 1000 + seed)
                    moved = score.on(crowds.mixed(n, packing, v0))
                    own.setdefault(f"{n} at {packing:g}", []).append(crowds.mixed_rates(moved, other))
    still, driven, more, thin = own
    learnt = {name: [r.learnt for r in rates] for name, rates in own.items()}
    without = {name: [r.without for r in rates] for name, rates in own.items()}
    ratio = {name: [a / b for a, b in zip(learnt[name], without[name], strict=True)] for name in (driven, more, thin)}
    yield Finding(
        "Of interacting particles, too, the learnt score gives the rate.",
        f"{crowds.COUNT} particles, v0 = {crowds.PROPULSION:g}: learnt over E[b·b / D] + E[∇·b], which needs no score, "
        "median over seeds within 5 %",
        _said(ratio[driven]),
        abs(statistics.median(ratio[driven]) - 1) < 0.05,
        "",
        {"learnt": learnt[driven], "without a score": without[driven]},
    )
    gap = [a / b for a, b in zip(learnt[still], learnt[driven], strict=True)]
    yield Finding(
        "Without propulsion there is none.",
        "v0 = 0, every seed: learnt at most 2 % of that of v0 = 0.5",
        f"{_said(gap)} of it; {_said(learnt[still])} a particle",
        max(gap) < 0.02,
        "",
        {"v0 = 0": learnt[still], "of v0 = 0.5": gap},
    )
    errors = [r.without / r.error for r in own[still]]
    yield Finding(
        "And what needs no score says so as well.",
        "v0 = 0: without a score, mean over seeds within two standard errors of 0 over the seeds",
        f"{_said(without[still])} a particle; in standard errors of each seed {_said(errors)}",
        abs(statistics.fmean(without[still])) < 2 * statistics.stdev(without[still]) / len(without[still]) ** 0.5,
        "",
        {"without a score": without[still], "in standard errors": errors},
    )
    for name, claim in ((more, "One network serves four times as many particles."), (thin, "And half the density.")):
        yield Finding(
            claim,
            f"trained on {crowds.COUNT} particles at a packing of {crowds.PACKING:g}, used on {name}: learnt over "
            "without a score, median over seeds within 10 %",
            _said(ratio[name]),
            abs(statistics.median(ratio[name]) - 1) < 0.1,
            "one network from 4,096 to 32,768 particles and from a packing of 0.1 to 0.9",
            {"learnt": learnt[name], "without a score": without[name]},
        )


def clusters(budget: Budget) -> Iterator[Shown]:
    runs, moved = [], []
    wide = crowds.cluster_states(1024, crowds.DENSE, 1, 4, 2000 + min(budget.seeds))
    for seed in budget.seeds:
        data = crowds.cluster_states(crowds.CLUSTERED, crowds.DENSE, 2, 12, seed)
        score = crowds.cluster_score(data, seed)
        runs.append(crowds.crowded(score, data))
        moved.append(crowds.crowded(score.on(crowds.clustering(1024, crowds.DENSE)), wide))
    for claim, found, bound in (
        ("Where positions have no noise, propulsions make as much as contacts squeeze.", runs, 0.1),
        ("A network trained on 256 particles says so of 1,024.", moved, 0.15),
    ):
        learnt, without = ([getattr(r.rates, of) for r in found] for of in ("learnt", "without"))
        ratio = [a / b for a, b in zip(learnt, without, strict=True)]
        yield Finding(
            claim,
            f"E|v_g|² / gamma by the score over -E[∇·F], which needs none, median over seeds within {bound:.0%}",
            _said(ratio),
            abs(statistics.median(ratio) - 1) < bound,
            "one network from 4,096 to 32,768 particles",
            {"learnt": learnt, "without a score": without},
        )
    inside, free = ([_of(r, of) for r in moved] for of in ("squeezed", "free"))
    yield Finding(
        "Entropy is produced in the crowd.",
        "1,024 particles, every seed: the tenth that is squeezed most makes more than twice a particle of those in no "
        "contact",
        f"{_said(inside)} against {_said(free)} a particle",
        all(a > 2 * b for a, b in zip(inside, free, strict=True)),
        "",
        {"squeezed most": inside, "in no contact": free},
    )
    yield _map(moved[0], wide)


def _of(found: crowds.Crowded, which: str) -> float:
    local, squeezed = found.local.flatten(), found.squeezed.flatten()
    chosen = squeezed > squeezed.quantile(0.9) if which == "squeezed" else squeezed < 1e-3 * squeezed.max()
    return float(local[chosen].mean())


def scaling(budget: Budget) -> Iterator[Shown]:
    spent = {n: [crowds.seconds(n, seed) for seed in budget.seeds] for n in crowds.SIZES}
    first, last = crowds.SIZES[0], crowds.SIZES[-1]
    whole = {n: statistics.median(sum_ for _, sum_ in runs) for n, runs in spent.items()}
    near = {n: statistics.median(own for own, _ in runs) for n, runs in spent.items()}
    ratio = whole[last] / whole[first]
    yield Finding(
        "What a map costs is linear in the number of particles.",
        f"CPU seconds of an evaluation, median over seeds: {last} particles at most {1.5 * last / first:g} of {first}",
        f"{ratio:.1f} times; " + "; ".join(f"{n} {whole[n]:.2f} s" for n in whole),
        ratio <= 1.5 * last / first,
        "neighbours from a table of all pairs: 64 times",
        {f"{n} particles, s": [own for _, own in runs] for n, runs in spent.items()},
    )
    yield Chart(
        "Seconds of one evaluation",
        "particles",
        "CPU seconds, median over seeds",
        (
            Series("all", list(whole), list(whole.values())),
            Series("neighbours", list(near), list(near.values())),
        ),
    )


def _map(found: crowds.Crowded, z: Tensor) -> Chart:
    """The last box, its particles in four parts by how much each makes."""
    local, at = found.local[-1], z[-1, :, :2]
    order = local.argsort()
    cuts = [0, len(order) // 2, 3 * len(order) // 4, 9 * len(order) // 10, len(order)]
    names = ("lower half", "to three quarters", "to nine tenths", "highest tenth")
    series = []
    for name, start, end in zip(names, cuts, cuts[1:], strict=False):
        some = order[start:end]
        mean = float(local[some].mean())
        series.append(Series(f"{name} (mean {mean:.3f})", at[some, 0].tolist(), at[some, 1].tolist(), marks=True))
    return Chart("Where 1,024 particles make entropy", "x", "y", tuple(series), height=520)


def _spread(name: str, of: dict[str, list[float]]) -> Series:
    middle = [statistics.median(own) for own in of.values()]
    low, high = ([end(own) for own in of.values()] for end in (min, max))
    return Series(name, list(of), middle, marks=True, low=low, high=high)


def _said(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


PAPER = Paper(
    slug="active-matter-epr",
    title="Deep learning probability flows and entropy production rates in active matter",
    arxiv="2309.12991",
    year=2023,
    family="physics",
    claim="A network that learns the score of a stationary law says where, and how fast, a system out of equilibrium "
    "makes entropy, for thousands of particles and for other numbers and densities than it was trained at.",
    names=(
        "entrokit.physics.active_matter.ActiveOrnsteinUhlenbeck",
        "entrokit.physics.active_matter.ActiveBrownian",
        "entrokit.physics.active_matter.ParticleScoreTransformer",
        "entrokit.physics.active_matter.ParticleScore",
        "entrokit.physics.active_matter.ScoreTrainer",
        "entrokit.physics.active_matter.score_matching_loss",
        "entrokit.physics.active_matter.denoising_loss",
        "entrokit.physics.active_matter.probability_flow",
        "entrokit.physics.active_matter.entropy_production_rate",
        "entrokit.physics.active_matter.epr_by_coordinate",
        "entrokit.physics.active_matter.epr_without_score",
        "entrokit.physics.active_matter.stationarity",
        "entrokit.physics.active_matter.divergence",
        "entrokit.physics.active_matter.ou_reference",
    ),
    recipes=(),
    experiments={
        "known": Experiment(
            known,
            seeds=5,
            minutes=3,
            needs=("physics",),
            criterion="entropy production of a learnt score on 200,000 fresh samples within 2 % of the exact one by "
            "the median over seeds, for a trapped active particle, a rotation and a system of three dimensions; of "
            "the trap on every seed within 0.06, and its two parts within 0.04",
        ),
        "double-well": Experiment(
            wells,
            seeds=5,
            minutes=4,
            needs=("physics",),
            criterion="a double well with a solenoidal force, with and without the stationary equation's term: learnt "
            "rate within 4 % of the exact score's on the same samples and local rates correlated above 0.99 on every "
            "seed; the term leaves the score's error no larger on the mean",
        ),
        "particles": Experiment(
            particles,
            seeds=5,
            minutes=8,
            needs=("physics",),
            criterion="16 particles in a periodic box: learnt rate within 5 % of what needs no score by the median "
            "over seeds at v0 = 0.5, at most 2 % of that at v0 = 0 on every seed, where what needs no score is 0 "
            "within two standard errors; on 64 particles and at half the packing within 10 %",
        ),
        "clusters": Experiment(
            clusters,
            seeds=5,
            minutes=8,
            needs=("physics",),
            criterion="256 particles without positional noise: E|v_g|² / gamma within 10 % of -E[∇·F] by the median "
            "over seeds, within 15 % on 1,024; the tenth squeezed most makes more than twice a particle of those in "
            "no contact",
        ),
        "scaling": Experiment(
            scaling,
            seeds=5,
            minutes=1,
            needs=("physics",),
            criterion="CPU seconds of one evaluation at 32,768 particles at most 12 times those at 4,096",
        ),
    },
)
