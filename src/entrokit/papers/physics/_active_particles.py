"""Particles that no law is known of: learnt rates beside what needs no score, and what an evaluation costs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from torch import Tensor

from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Budget, Finding
from . import _active_crowds as crowds
from . import _active_ring as ring


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
    yield parts_of(many[0].local[-1], boxes[0][-1])


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


def _by_place(name: str, runs: Sequence[ring.Learnt]) -> Series:
    bins = len(runs[0].by_place)
    places = [(2 * k + 1) / bins * ring.HALF_WIDTH - ring.HALF_WIDTH for k in range(bins)]
    columns = [(x, [run.by_place[k] for run in runs]) for k, x in enumerate(places)]
    seen = [(x, statistics.median(own)) for x, own in columns if all(math.isfinite(v) for v in own)]
    return Series(name, [x for x, _ in seen], [y for _, y in seen])


def parts_of(local: Tensor, z: Tensor) -> Chart:
    """A box whose particles are in four parts by how much each makes."""
    order = local.argsort()
    names = ("lowest quarter", "second", "third", "highest quarter")
    series = [
        Series(f"{name} (mean {float(local[some].mean()):.2f})", z[some, 0].tolist(), z[some, 1].tolist(), marks=True)
        for name, some in zip(names, order.chunk(4), strict=True)
    ]
    return Chart(f"Where {len(z)} particles make entropy", "x", "y", tuple(series), height=480)


def _said(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"
