"""Entropy production of active matter, by learning the score of its stationary law."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from torch import Tensor

from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from . import _active_crowds as crowds
from . import _active_ring as ring
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


def swimmers(budget: Budget) -> Iterator[Shown]:
    still, driven = ([ring.swimmers(v0, seed) for seed in budget.seeds] for v0 in (0.0, 1.0))
    ratio = [run.rate / run.without for run in driven]
    yield Finding(
        "Where no law is known the learnt score agrees with what needs none.",
        "v0 = 1, learnt over E[b·b / D] + E[∇·b] on the same samples: median over seeds within 5 %",
        _said(ratio),
        abs(statistics.median(ratio) - 1) < 0.05,
        "",
        {"learnt": [run.rate for run in driven], "without a score": [run.without for run in driven]},
    )
    share = [a.rate / b.rate for a, b in zip(still, driven, strict=True)]
    yield Finding(
        "Without propulsion nothing is produced.",
        "v0 = 0, learnt: at most 2 % of the rate of v0 = 1 on every seed",
        f"{_said(share)} of it",
        max(share) < 0.02,
        "",
        {"v0 = 0": [run.rate for run in still], "of v0 = 1": share},
    )
    apart = [run.without / run.error for run in still]
    yield Finding(
        "What needs no score says so as well.",
        "v0 = 0, without a score: mean over seeds within two of its standard errors over seeds of 0",
        f"{_said([run.without for run in still])}; in its own standard errors {_said(apart)}",
        abs(statistics.fmean(run.without for run in still))
        < 2 * statistics.stdev(run.without for run in still) / len(still) ** 0.5,
        "",
        {"without a score": [run.without for run in still], "in standard errors": apart},
    )
    yield Chart(
        "Where two swimmers make entropy",
        "their difference (in contact within ±2)",
        "local rate, median over seeds",
        tuple(_by_place(f"v0 = {v0}", runs) for v0, runs in ((1, driven), (0, still))),
    )


def _by_place(name: str, runs: Sequence[ring.Learnt]) -> Series:
    bins = len(runs[0].by_place)
    places = [(2 * k + 1) / bins * ring.HALF_WIDTH - ring.HALF_WIDTH for k in range(bins)]
    columns = [(x, [run.by_place[k] for run in runs]) for k, x in enumerate(places)]
    seen = [(x, statistics.median(own)) for x, own in columns if all(math.isfinite(v) for v in own)]
    return Series(name, [x for x, _ in seen], [y for _, y in seen])


def pair(budget: Budget) -> Iterator[Shown]:
    found = [crowds.pair_rates(seed) for seed in budget.seeds]
    ratio = [run.learnt / run.without for run in found]
    yield Finding(
        "Networks of particles learn it, too, where they see all there is.",
        f"two particles on a ring, {crowds.PAIR_STEPS} steps: learnt over E[b·b / D] + E[∇·b] on the same states, "
        "median over seeds within 5 %",
        _said(ratio),
        abs(statistics.median(ratio) - 1) < 0.05,
        "",
        {"learnt": [run.learnt for run in found], "without a score": [run.without for run in found]},
    )


def plane(budget: Budget) -> Iterator[Shown]:
    few, many, boxes = [], [], []
    for seed in budget.seeds:
        data = crowds.states(crowds.COUNT, 128, 6, seed)
        boxes.append(crowds.states(crowds.MANY, 8, 6, 1000 + seed))
        score = crowds.learnt(data, seed)
        few.append(crowds.rates(score, data))
        many.append(crowds.rates(score.on(crowds.crowd(crowds.MANY), 24), boxes[-1]))
    trained = f"{crowds.STEPS} steps on {crowds.COUNT} particles at a packing of {crowds.PACKING:g}"
    for claim, found, n, bound in (
        ("Of particles in the plane, too, after minutes of a core.", few, crowds.COUNT, 0.05),
        ("One network serves eight times as many particles.", many, crowds.MANY, 0.1),
    ):
        ratio = [run.learnt / run.without for run in found]
        yield Finding(
            claim,
            f"{trained}, used on {n}: learnt over E[b·b / D] + E[∇·b], median over seeds within {bound:.0%}",
            _said(ratio),
            abs(statistics.median(ratio) - 1) < bound,
            "one network from 4,096 to 32,768 particles" if n == crowds.MANY else "",
            {"learnt": [run.learnt for run in found], "without a score": [run.without for run in found]},
        )
    yield _map(many[0].local[-1], boxes[0][-1])


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


def _map(local: Tensor, z: Tensor) -> Chart:
    """A box whose particles are in four parts by how much each makes."""
    order = local.argsort()
    names = ("lowest quarter", "second", "third", "highest quarter")
    series = [
        Series(f"{name} (mean {float(local[some].mean()):.2f})", z[some, 0].tolist(), z[some, 1].tolist(), marks=True)
        for name, some in zip(names, order.chunk(4), strict=True)
    ]
    return Chart(f"Where {len(z)} particles make entropy", "x", "y", tuple(series), height=480)


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
        "swimmers": Experiment(
            swimmers,
            seeds=5,
            minutes=2,
            needs=("physics",),
            criterion="two swimmers on a ring, by their difference: learnt rate within 5 % of what needs no score by "
            "the median over seeds at v0 = 1; at v0 = 0 at most 2 % of that on every seed, and what needs no score is "
            "0 within two standard errors over seeds",
        ),
        "pair": Experiment(
            pair,
            seeds=5,
            minutes=2,
            needs=("physics",),
            criterion="two particles on a ring, each with the networks that crowds have: learnt rate within 5 % of "
            "what needs no score by the median over seeds",
        ),
        "plane": Experiment(
            plane,
            seeds=2,
            minutes=2,
            needs=("physics",),
            criterion="400 steps on 8 particles in the plane: learnt rate within 5 % of what needs no score, and "
            "within 10 % on 64 particles that the same network sees for the first time",
        ),
        "scaling": Experiment(
            scaling,
            seeds=3,
            minutes=1,
            needs=("physics",),
            criterion="CPU seconds of one evaluation at 32,768 particles at most 12 times those at 4,096",
        ),
    },
)
