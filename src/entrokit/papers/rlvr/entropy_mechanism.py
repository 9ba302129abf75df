"""The entropy mechanism: reward is bought with entropy, and few tokens of large covariance pay."""

from __future__ import annotations

import numpy as np

from entrokit.diagnose import Course, fit_entropy_reward_law

from ..claims import ends_better, entropy_gap, gap_chart, matched_chart
from ..paper import Budget, Evidence, Finding, Paper

# The paper's fractions (2e-4, 2e-3) are for batches of millions of tokens and select nothing measurable here.
CLIP_COV = "grpo+clip-cov(ratio=0.1, low=0.5, high=50)"
KL_COV = "grpo+kl-cov(ratio=0.1)"


def reproduce(seed: int, budget: Budget) -> Evidence:
    bench = budget.open(seed)
    bench.courses("grpo", CLIP_COV, KL_COV)
    findings = [
        _law(bench.courses("grpo")["grpo"]),
        entropy_gap(
            bench,
            CLIP_COV,
            "grpo",
            claim="Detaching a few tokens of large covariance keeps entropy up (Clip-Cov).",
            bound=0.015,
            reference="sheet, tabular: +0.045 ± 0.010",
        ),
        entropy_gap(
            bench,
            KL_COV,
            "grpo",
            claim="A KL penalty on the tokens of largest covariance keeps entropy up (KL-Cov).",
            bound=0.03,
            reference="sheet, tabular: +0.076 ± 0.007",
        ),
    ]
    if bench.name == "pocket":
        scores = "paper, 7B, seven benchmarks: 38.6 → "
        findings += [
            ends_better(bench, CLIP_COV, "grpo", "Clip-Cov", reference=scores + "40.4"),
            ends_better(bench, KL_COV, "grpo", "KL-Cov", reference=scores + "40.6"),
        ]
    charts = (matched_chart(bench, ["grpo", CLIP_COV, KL_COV]), gap_chart(bench, [CLIP_COV, KL_COV], "grpo"))
    return Evidence(PAPER.slug, bench.name, tuple(bench.seeds), tuple(findings), charts)


def _law(courses: list[Course]) -> Finding:
    laws = [fit_entropy_reward_law(c.entropy.tolist(), c.accuracy.tolist()) for c in courses]
    r2 = [law.r2 for law in laws]
    a, b = (np.array([getattr(law, name) for law in laws]) for name in ("a", "b"))
    return Finding(
        "Reward follows R = -a e^H + b during a run of GRPO.",
        "R² of the fit > 0.9 for every seed",
        f"R² {min(r2):.3f} to {max(r2):.3f}; a {a.mean():.4f} ± {a.std(ddof=1):.4f}, "
        f"b {b.mean():.3f} ± {b.std(ddof=1):.3f} (standard deviations)",
        min(r2) > 0.9,
        "sheet, tabular: R² 0.963, a 0.0465, b 1.018",
    )


PAPER = Paper(
    slug="entropy-mechanism",
    title="The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
    arxiv="2505.22617",
    year=2025,
    family="rlvr: tokens",
    claim="Few tokens, whose log-probability and advantage covary, lower the entropy; restraining them keeps it up.",
    names=(
        "entrokit.rlvr.interventions.covariance.ClipCov",
        "entrokit.rlvr.interventions.covariance.KLCov",
        "entrokit.rlvr.interventions.covariance.token_covariance",
        "entrokit.diagnose.fit_entropy_reward_law",
        "entrokit.diagnose.EntropyRewardLaw",
    ),
    recipes=("grpo+clip-cov", "grpo+kl-cov"),
    reproduce=reproduce,
)
