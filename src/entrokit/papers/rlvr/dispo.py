"""DISPO: four bounds of the detached ratio, for right and wrong answers apart."""

from __future__ import annotations

from collections.abc import Iterator

from entrokit.bench import Bench
from entrokit.report import Chart

from ..claims import accuracy_gap, entropy_gap, gap_chart, matched_chart, steps_gap
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

CLOSED = "dispo(pos_low=0, pos_high=0, neg_low=0, neg_high=0)"
RIGHT_UP = "dispo(pos_low=0, pos_high=10, neg_low=0, neg_high=0)"
RIGHT_DOWN = "dispo(pos_low=1, pos_high=0, neg_low=0, neg_high=0)"
CISPO = "cispo(clip_low=0.2, clip_high=0.2)"
SPECS = (CLOSED, RIGHT_UP, RIGHT_DOWN, "dispo", CISPO)


def tabular(budget: Budget) -> Iterator[Shown]:
    bench = budget.tabular()
    yield from _bounds_move_entropy(bench)
    yield _no_slower(bench, 0.9)
    yield from _charts(bench)


def pocket(budget: Budget) -> Iterator[Shown]:
    bench = budget.pocket()
    bench.courses(*SPECS)
    yield from _bounds_move_entropy(bench)
    yield _no_slower(bench, bench.level)
    yield accuracy_gap(
        bench,
        "dispo",
        CISPO,
        claim="DISPO ends with a higher accuracy than CISPO.",
        reference="paper, 14B, AIME24: 55.42 → 61.04",
    )
    yield from _charts(bench)


def _bounds_move_entropy(bench: Bench) -> Iterator[Finding]:
    yield entropy_gap(
        bench,
        RIGHT_UP,
        CLOSED,
        claim="Letting weights above 1 through for right answers raises entropy.",
        bound=0.005,
        reference="independent check, tabular: +0.017 ± 0.004",
    )
    yield entropy_gap(
        bench,
        RIGHT_DOWN,
        CLOSED,
        claim="Letting weights below 1 through for right answers lowers entropy.",
        bound=0.0,
        raises=False,
        reference="independent check, tabular: -0.0007 ± 0.0002",
    )


def _no_slower(bench: Bench, level: float) -> Finding:
    return steps_gap(
        bench,
        "dispo",
        CISPO,
        level,
        claim="DISPO learns at least as fast as CISPO.",
        reference="independent check, tabular: 13.6 against 14.5 steps",
    )


def _charts(bench: Bench) -> Iterator[Chart]:
    yield matched_chart(bench, SPECS)
    yield gap_chart(bench, [RIGHT_UP, RIGHT_DOWN], CLOSED)


PAPER = Paper(
    slug="dispo",
    title="DISPO: Enhancing Training Efficiency and Stability in RL for LLM Mathematical Reasoning",
    arxiv="2602.00983",
    year=2026,
    family="rlvr: tokens",
    claim="Separate bounds on the weights of right and wrong answers learn as fast as CISPO and stay as stable as PPO.",
    symptoms=("entropy collapses", "entropy explodes"),
    names=("entrokit.rlvr.bases.dispo.dispo_loss",),
    recipes=("dispo",),
    experiments={
        "tabular": Experiment(
            tabular,
            seeds=8,
            minutes=0.2,
            criterion="for right answers, weights above 1 let through raise entropy at accuracy 0.5 by 0.005 nats, "
            "those below 1 lower it, and DISPO is no slower than CISPO, on means over seeds",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=7.5,
            criterion="the same signs of entropy at accuracy 0.2 and a better end than CISPO's, by 95 % Student "
            "intervals over seeds; no slower than CISPO on the mean",
            needs=("trl",),
        ),
    },
)
