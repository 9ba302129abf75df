"""The entropy mechanism: reward is bought with entropy, and few tokens of large covariance pay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from entrokit.bench import Bench
from entrokit.diagnose import Course, fit_entropy_reward_law
from entrokit.report import Chart

from ..claims import ends_better, entropy_gap, gap_chart, matched_chart
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

# The paper's fractions (2e-4, 2e-3) are for batches of millions of tokens and select nothing measurable here.
CLIP_COV = "grpo+clip-cov(ratio=0.1, low=0.5, high=50)"
KL_COV = "grpo+kl-cov(ratio=0.1)"


def tabular(budget: Budget) -> Iterator[Shown]:
    bench = budget.tabular()
    yield _law(bench.courses("grpo")["grpo"])
    yield from _entropy_is_kept(bench)
    yield from _charts(bench)


def pocket(budget: Budget) -> Iterator[Shown]:
    bench = budget.pocket()
    bench.courses("grpo", CLIP_COV, KL_COV)
    yield _law(bench.courses("grpo")["grpo"])
    yield from _entropy_is_kept(bench)
    scores = "paper, 7B, seven benchmarks: 38.6 → "
    yield ends_better(bench, CLIP_COV, "grpo", "Clip-Cov", reference=scores + "40.4")
    yield ends_better(bench, KL_COV, "grpo", "KL-Cov", reference=scores + "40.6")
    yield from _charts(bench)


def _entropy_is_kept(bench: Bench) -> Iterator[Finding]:
    yield entropy_gap(
        bench,
        CLIP_COV,
        "grpo",
        claim="Detaching a few tokens of large covariance keeps entropy up (Clip-Cov).",
        bound=0.015,
        reference="independent check, tabular: +0.045 ± 0.010",
    )
    yield entropy_gap(
        bench,
        KL_COV,
        "grpo",
        claim="A KL penalty on the tokens of largest covariance keeps entropy up (KL-Cov).",
        bound=0.03,
        reference="independent check, tabular: +0.076 ± 0.007",
    )


def _charts(bench: Bench) -> Iterator[Chart]:
    yield matched_chart(bench, ["grpo", CLIP_COV, KL_COV])
    yield gap_chart(bench, [CLIP_COV, KL_COV], "grpo")


def _law(courses: Sequence[Course]) -> Finding:
    laws = [fit_entropy_reward_law(c.entropy.tolist(), c.accuracy.tolist()) for c in courses]
    r2 = [law.r2 for law in laws]
    a, b = (np.array([getattr(law, name) for law in laws]) for name in ("a", "b"))
    return Finding(
        "Reward follows R = -a e^H + b during a run of GRPO.",
        "R² of the fit > 0.9 for every seed",
        f"R² {min(r2):.3f} to {max(r2):.3f}; a {a.mean():.4f} ± {a.std(ddof=1):.4f}, "
        f"b {b.mean():.3f} ± {b.std(ddof=1):.3f} (standard deviations)",
        min(r2) > 0.9,
        "independent check, tabular: R² 0.963, a 0.0465, b 1.018",
        raw={"R²": r2, "a": a.tolist(), "b": b.tolist()},
    )


PAPER = Paper(
    slug="entropy-mechanism",
    title="The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
    arxiv="2505.22617",
    year=2025,
    family="rlvr: tokens",
    claim="Few tokens, whose log-probability and advantage covary, lower the entropy; restraining them keeps it up.",
    symptoms=("entropy collapses",),
    names=(
        "entrokit.rlvr.interventions.covariance.ClipCov",
        "entrokit.rlvr.interventions.covariance.KLCov",
        "entrokit.rlvr.interventions.covariance.token_covariance",
        "entrokit.diagnose.fit_entropy_reward_law",
        "entrokit.diagnose.EntropyRewardLaw",
    ),
    recipes=("grpo+clip-cov", "grpo+kl-cov"),
    experiments={
        "tabular": Experiment(
            tabular,
            seeds=8,
            minutes=0.2,
            criterion="the law fits GRPO's course with R² above 0.9 in every seed; at accuracy 0.5 Clip-Cov keeps "
            "0.015 nats more than GRPO and KL-Cov 0.03, on the mean",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=4.5,
            criterion="R² above 0.9 in every seed; more entropy at accuracy 0.2 and a better end than GRPO with "
            "either method, by 95 % Student intervals over seeds",
            needs=("trl",),
        ),
    },
)
