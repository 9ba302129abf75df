"""DISPO: four bounds of the detached ratio, for right and wrong answers apart."""

from __future__ import annotations

from ..claims import accuracy_gap, entropy_gap, gap_chart, matched_chart, steps_gap
from ..paper import Budget, Evidence, Paper

CLOSED = "dispo(pos_low=0, pos_high=0, neg_low=0, neg_high=0)"
RIGHT_UP = "dispo(pos_low=0, pos_high=10, neg_low=0, neg_high=0)"
RIGHT_DOWN = "dispo(pos_low=1, pos_high=0, neg_low=0, neg_high=0)"
CISPO = "cispo(clip_low=0.2, clip_high=0.2)"


def reproduce(seed: int, budget: Budget) -> Evidence:
    bench = budget.open(seed)
    bench.courses(CLOSED, RIGHT_UP, RIGHT_DOWN, "dispo", CISPO)
    tabular = bench.name == "tabular"
    findings = [
        entropy_gap(
            bench,
            RIGHT_UP,
            CLOSED,
            claim="Letting weights above 1 through for right answers raises entropy.",
            bound=0.005,
            reference="sheet, tabular: +0.017 ± 0.004",
        ),
        entropy_gap(
            bench,
            RIGHT_DOWN,
            CLOSED,
            claim="Letting weights below 1 through for right answers lowers entropy.",
            bound=0.0,
            raises=False,
            reference="sheet, tabular: -0.0007 ± 0.0002",
        ),
        steps_gap(
            bench,
            "dispo",
            CISPO,
            0.9 if tabular else bench.level,
            claim="DISPO learns at least as fast as CISPO.",
            reference="sheet, tabular: 13.6 against 14.5 steps",
        ),
    ]
    if not tabular:
        findings.append(
            accuracy_gap(
                bench,
                "dispo",
                CISPO,
                claim="DISPO ends with a higher accuracy than CISPO.",
                reference="paper, 14B, AIME24: 55.42 → 61.04",
            )
        )
    charts = (
        matched_chart(bench, [CLOSED, RIGHT_UP, RIGHT_DOWN, "dispo", CISPO]),
        gap_chart(bench, [RIGHT_UP, RIGHT_DOWN], CLOSED),
    )
    return Evidence(PAPER.slug, bench.name, tuple(bench.seeds), tuple(findings), charts)


PAPER = Paper(
    slug="dispo",
    title="DISPO: Enhancing Training Efficiency and Stability in RL for LLM Mathematical Reasoning",
    arxiv="2602.00983",
    year=2026,
    family="rlvr: tokens",
    claim="Separate bounds on the weights of right and wrong answers learn as fast as CISPO and stay as stable as PPO.",
    names=("entrokit.rlvr.bases.dispo.dispo_loss",),
    recipes=("dispo",),
    reproduce=reproduce,
)
