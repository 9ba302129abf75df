"""Skywork-OR1: an entropy bonus that acts only while entropy is too low holds it, and does not blow it up."""

from __future__ import annotations

from collections.abc import Iterator

from entrokit.bench import TabularBench

from ..claims import entropy_gap, gap_chart, matched_chart
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

# The tabular policy starts near 3 nats and GRPO takes it below 0.1 within 80 steps.
TARGET = 1.0
RECIPE = f"grpo+adaptive-entropy(target={TARGET}, coef_delta=0.01)"
# The coefficient that is held all along, for comparison.
FIXED = "grpo+entropy-bonus(coef=0.3)"


def tabular(budget: Budget) -> Iterator[Shown]:
    bench = budget.tabular()
    bench.courses("grpo", RECIPE, FIXED)
    yield _held(bench)
    yield entropy_gap(
        bench,
        RECIPE,
        "grpo",
        claim="Where entropy is above the target the bonus does not act.",
        bound=0.01,
        raises=False,
    )
    yield matched_chart(bench, ["grpo", RECIPE, FIXED])
    yield gap_chart(bench, [RECIPE, FIXED], "grpo")


def _held(bench: TabularBench) -> Finding:
    courses = bench.courses("grpo", RECIPE)
    ends = {spec: [float(c.entropy[-1]) for c in own] for spec, own in courses.items()}
    return Finding(
        "The entropy settles at the target instead of collapsing.",
        f"entropy after 80 steps, every seed: within 20 % of {TARGET:g} nats, and below half of it without",
        "; ".join(f"{spec} {min(e):.3f} to {max(e):.3f}" for spec, e in ends.items()),
        all(abs(e / TARGET - 1) <= 0.2 for e in ends[RECIPE]) and all(e < TARGET / 2 for e in ends["grpo"]),
        raw=ends,
    )


PAPER = Paper(
    slug="skywork-or1",
    title="Skywork Open Reasoner 1 Technical Report",
    arxiv="2505.22312",
    year=2025,
    family="rlvr: regularisers",
    claim="An entropy bonus whose coefficient follows a target keeps entropy from collapsing; above it does nothing.",
    symptoms=("entropy collapses",),
    names=(
        "entrokit.rlvr.interventions.adaptive_entropy.AdaptiveEntropy",
        "entrokit.rlvr.interventions.adaptive_entropy.adapted_coefficient",
    ),
    recipes=("dapo+adaptive-entropy(target=0.4)", RECIPE),
    experiments={
        "tabular": Experiment(
            tabular,
            seeds=8,
            minutes=0.2,
            criterion="entropy ends within 20 % of the target in every seed, and is GRPO's as long as it is above",
        ),
    },
)
