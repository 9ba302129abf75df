"""HAPO: the entropy of a token steers sampling, advantage and clip bounds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from entrokit.bench import Bench
from entrokit.report import Chart, Series
from entrokit.rlvr.advantages import grpo_advantages
from entrokit.rlvr.interventions.hapo import adaptive_clip, normalized_log_entropy, token_group_advantages
from entrokit.rlvr.surrogates import outside

from ..claims import accuracy_gap, entropy_gap, gap_chart, matched_chart
from ..paper import Budget, Evidence, Finding, Paper

DAPO = "dapo(clip_high=0.2, dual_clip=10.0)"
PARTS = f"{DAPO}+adaptive-clip+redistribute-advantage"
TOKENS = 20_000


def reproduce(seed: int, budget: Budget) -> Evidence:
    bench = budget.open(seed)
    if bench.name == "tabular":
        findings, charts = _miniatures(bench)
    else:
        bench.courses(DAPO, "hapo")
        findings = [
            entropy_gap(bench, "hapo", DAPO, claim="HAPO keeps more entropy at equal accuracy.", bound=0.0),
            accuracy_gap(
                bench,
                "hapo",
                DAPO,
                claim="HAPO ends with a higher accuracy than DAPO.",
                reference="paper, 7B, six benchmarks: 46.97 → 50.04",
            ),
        ]
        charts = (matched_chart(bench, [DAPO, "hapo"]), gap_chart(bench, ["hapo"], DAPO))
    return Evidence(PAPER.slug, bench.name, tuple(bench.seeds), tuple(findings), charts)


def _miniatures(bench: Bench) -> tuple[list[Finding], tuple[Chart, ...]]:
    seeds = list(bench.seeds)
    clipped = [_clipped_shares(seed) for seed in seeds]
    fixed, adaptive = (np.array([[shares[i][side] for side in SIDES] for shares in clipped]) for i in (0, 1))
    (left_before, right_before), (left_after, right_after) = fixed.mean(0)[:2], adaptive.mean(0)[:2]
    clipping = Finding(
        "Adaptive bounds let certain tokens fall further and uncertain ones rise further, and touch nothing else.",
        f"{TOKENS:,} random tokens, every seed: fewer clipped on the left where h <= 0 and on the right where h > 0, "
        "and exactly as many on the other two sides",
        f"left, h <= 0: {left_before:.3f} → {left_after:.3f}; right, h > 0: {right_before:.3f} → {right_after:.3f}; "
        f"other sides differ by {np.abs(fixed - adaptive)[:, 2:].max():g}",
        bool((adaptive[:, :2] < fixed[:, :2]).all() and (adaptive[:, 2:] == fixed[:, 2:]).all()),
        "sheet: 0.093 → 0.065; 0.119 → 0.103",
    )
    pushes = [_filler_pushes(seed) for seed in seeds]
    averaged, plain = (np.array([push[i] for push in pushes]) for i in (0, 1))
    filler = Finding(
        "Averaged over tokens, a filler token that stands everywhere is neither pushed up nor down.",
        "groups of 16 answers of random length, every seed: |gradient on the filler's logit| < 1e-5 with TLGA",
        f"largest {np.abs(averaged).max():.1e} with TLGA; GRPO: {np.abs(plain).mean():.1e} on the mean of sizes",
        bool(np.abs(averaged).max() < 1e-5),
        "sheet, lengths 2, 5, 3, 4: 0 against +0.074",
    )
    share = Chart(
        "Share of tokens that the clip silences",
        "side and tokens",
        "share",
        tuple(Series(name, SIDES, x.mean(0).tolist(), marks=True) for name, x in (("fixed", fixed), ("AAC", adaptive))),
    )
    return [clipping, filler], (share, matched_chart(bench, [DAPO, PARTS]))


SIDES = ("left, h ≤ 0", "right, h > 0", "right, h ≤ 0", "left, h > 0")


def _clipped_shares(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Share of tokens of each side that a fixed clip of 0.2 silences, and that AAC does (sheet `hapo`, check 8)."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(1, TOKENS, generator=generator, dtype=torch.float64)

    entropy, ratio = (-1.5 + 1.5 * normal()).exp(), (0.25 * normal()).exp()
    advantages = torch.where(normal() > 0, 1.0, -1.0)
    h, _ = normalized_log_entropy(entropy, torch.ones_like(entropy, dtype=torch.bool))

    def shares(low: Tensor | float, high: Tensor | float) -> dict[str, float]:
        silenced = outside(ratio, advantages, low, high)
        sides = {"left": silenced & (advantages < 0), "right": silenced & (advantages > 0)}
        tokens = {"h ≤ 0": h <= 0, "h > 0": h > 0}
        return {f"{s}, {t}": float(sides[s][tokens[t]].double().mean()) for s in sides for t in tokens}

    return shares(0.2, 0.2), shares(*adaptive_clip(h))


def _filler_pushes(seed: int) -> tuple[float, float]:
    """Gradient on the logit of a token of probability 0.7 that is every token of a group: with TLGA, and with GRPO."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 40, (16,), generator=generator)
    reward = (torch.arange(16) < 8).double()
    mask = torch.arange(40) < lengths[:, None]
    group = torch.zeros(16, dtype=torch.long)

    def push(advantages: Tensor) -> float:
        logit = torch.tensor(0.7 / 0.3, dtype=torch.float64).log().requires_grad_()
        loss = -(advantages * torch.nn.functional.logsigmoid(logit))[mask].mean()
        return float(torch.autograd.grad(loss, logit)[0])

    plain = grpo_advantages(reward, group)[:, None].expand(mask.shape)
    return push(token_group_advantages(reward, group, mask)), push(plain)


PAPER = Paper(
    slug="hapo",
    title="From Uniform to Heterogeneous: Tailoring Policy Optimization to Every Token's Nature",
    arxiv="2509.16591",
    year=2025,
    family="rlvr: tokens",
    claim="Sampling, advantages and clip bounds that follow each token's entropy explore where the policy is unsure.",
    names=(
        "entrokit.rlvr.interventions.hapo.AdaptiveTemperature",
        "entrokit.rlvr.interventions.hapo.TokenGroupAverage",
        "entrokit.rlvr.interventions.hapo.AdaptiveClip",
        "entrokit.rlvr.interventions.hapo.RedistributeAdvantage",
        "entrokit.decoding.adaptive_temperature.EntropyTemperature",
    ),
    recipes=("hapo", "grpo+token-group-average", "grpo+adaptive-clip+redistribute-advantage"),
    reproduce=reproduce,
)
