"""ARES: windows of high entropy are a currency of reasoning, spent by difficulty."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from entrokit.report import Chart, Series
from entrokit.rlvr.interventions.aepo_kl import variance_increase
from entrokit.rlvr.windows import window_entropy

from ..claims import accuracy_gap, gap_chart, matched_chart
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

BASE = "dapo(clip_high=0.3)"
# A completion of countdown has about eight tokens: windows of four hardly fit.
RECIPE = f"{BASE}+aepo-reward(window=2)+aepo-kl(beta=0.2, window=2)"
SEQUENCES, WINDOW, THRESHOLD, SURE, UNSURE = 2000, 4, 0.7, 0.1, 1.0
_GROUPS, _GROUP, _KAPPA = 200_000, 8, 0.5


def miniature(budget: Budget) -> Iterator[Shown]:
    samples = [two_states(s) for s in budget.seeds]
    slopes = [float(np.polyfit(n, length, 1)[0]) for n, length in samples]
    correlations = [float(np.corrcoef(n, length)[0, 1]) for n, length in samples]
    yield Finding(
        "How many windows of high entropy a response has tells how long it reasons.",
        "2000 sequences that switch between reasoning and fluent text: length on windows, every seed: slope above "
        "0, correlation at least 0.7",
        f"slope {min(slopes):.2f} to {max(slopes):.2f}, correlation {min(correlations):.3f} to {max(correlations):.3f}",
        min(slopes) > 0 and min(correlations) >= 0.7,
        "independent check, three seeds: slope about 1.3, correlation about 0.84",
        raw={"slope": slopes, "correlation": correlations},
    )
    increases = [_variance_increase(s) for s in budget.seeds]
    expected = variance_increase(_GROUP, _KAPPA, kl_variance=0.5, covariance=0.0)
    yield Finding(
        "A KL penalty inside the reward makes group advantages noisier, by a known amount.",
        "rewards by a fair coin, independent KL of variance 1/2, groups of 8, κ = 0.5: the variance of advantages "
        f"rises by {expected:.6f} within 2 %, every seed",
        f"{min(increases):.5f} to {max(increases):.5f}",
        all(abs(x / expected - 1.0) < 0.02 for x in increases),
        raw={"increase of variance": increases},
    )
    count, length = samples[0]
    yield Chart(
        "Length and windows of high entropy, one seed",
        "windows of high entropy",
        "tokens",
        (Series("a response", count[:400].tolist(), length[:400].tolist(), marks=True),),
    )


def pocket(budget: Budget) -> Iterator[Shown]:
    bench = budget.pocket()
    bench.courses(BASE, RECIPE)
    claim = "With the reward and the KL by difficulty, the policy ends better than with GRPO alone."
    yield accuracy_gap(bench, RECIPE, BASE, claim=claim, reference="paper, four benchmarks: 53.4 → 55.7")
    yield matched_chart(bench, [BASE, RECIPE])
    yield gap_chart(bench, [RECIPE], BASE)


def two_states(
    seed: int,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Windows of high entropy and lengths of 2000 sequences (the setting of an independent check).

    From reasoning (entropy 1.0) to fluent text (0.1) with probability 0.2 a token, back with 0.1; it ends with 0.02
    while reasoning and 0.2 in fluent text.
    """
    rng = np.random.default_rng(seed)
    counts, lengths = [], []
    for _ in range(SEQUENCES):
        reasoning, entropies = True, []
        while True:
            entropies.append((UNSURE if reasoning else SURE) + 0.05 * rng.normal())
            if rng.random() < (0.02 if reasoning else 0.2):
                break
            reasoning = rng.random() >= 0.2 if reasoning else rng.random() < 0.1
        H = torch.tensor([entropies])
        means, defined = window_entropy(H, torch.ones_like(H, dtype=torch.bool), WINDOW)
        counts.append(int((defined & (means >= THRESHOLD)).sum()))
        lengths.append(len(entropies))
    return np.array(counts), np.array(lengths)


def _variance_increase(seed: int) -> float:
    rng = np.random.default_rng(seed)
    success = rng.integers(2, size=(_GROUPS, _GROUP)).astype(float)
    shaped = success - _KAPPA * rng.gamma(2.0, 0.5, size=success.shape)
    plain, penalised = (x - x.mean(1, keepdims=True) for x in (success, shaped))
    return float(penalised.var() - plain.var())


PAPER = Paper(
    slug="ares",
    title="ARES: Multimodal Adaptive Reasoning via Difficulty-Aware Token-Level Entropy Shaping",
    arxiv="2510.08457",
    year=2025,
    family="rlvr: rewards and advantages",
    claim="Rewards and KL by difficulty: windows of high entropy cost on easy prompts and pay on hard ones.",
    symptoms=("completions grow too long",),
    names=(
        "entrokit.rlvr.interventions.aepo_reward.AEPOReward",
        "entrokit.rlvr.interventions.aepo_kl.AEPOKL",
        "entrokit.rlvr.window_entropy",
        "entrokit.rlvr.hwe_mask",
        "entrokit.rlvr.select_cold_start",
    ),
    recipes=("ares", RECIPE),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.5,
            criterion="windows tell length in every seed; the penalty's noise is what the formula says, within 2 %",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=3,
            criterion="accuracy at the end is higher than GRPO's, by a 95 % Student interval over seeds",
            needs=("trl",),
        ),
    },
)
