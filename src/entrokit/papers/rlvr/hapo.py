"""HAPO: the entropy of a token steers sampling, advantage and clip bounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from entrokit.report import Chart, Series
from entrokit.rlvr.advantages import grpo_advantages
from entrokit.rlvr.interventions.hapo import adaptive_clip, normalized_log_entropy, token_group_advantages
from entrokit.rlvr.surrogates import outside

from ..claims import accuracy_gap, entropy_gap, gap_chart, matched_chart
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

DAPO = "dapo(clip_high=0.2, dual_clip=10.0)"
PARTS = f"{DAPO}+adaptive-clip+redistribute-advantage"
TOKENS = 20_000
SIDES = ("left, h ≤ 0", "right, h > 0", "right, h ≤ 0", "left, h > 0")


def tabular(budget: Budget) -> Iterator[Shown]:
    yield from _clipping(budget.seeds)
    yield _filler_stands_still(budget.seeds)
    yield matched_chart(budget.tabular(), [DAPO, PARTS])


def pocket(budget: Budget) -> Iterator[Shown]:
    bench = budget.pocket()
    yield entropy_gap(bench, "hapo", DAPO, claim="HAPO keeps more entropy at equal accuracy.", bound=0.0)
    yield accuracy_gap(
        bench,
        "hapo",
        DAPO,
        claim="HAPO ends with a higher accuracy than DAPO.",
        reference="paper, 7B, six benchmarks: 46.97 → 50.04",
    )
    yield matched_chart(bench, [DAPO, "hapo"])
    yield gap_chart(bench, ["hapo"], DAPO)


def _clipping(seeds: tuple[int, ...]) -> Iterator[Shown]:
    clipped = [_clipped_shares(seed) for seed in seeds]
    fixed, adaptive = (np.array([[shares[i][side] for side in SIDES] for shares in clipped]) for i in (0, 1))
    (left_before, right_before), (left_after, right_after) = fixed.mean(0)[:2], adaptive.mean(0)[:2]
    arms = {"fixed": fixed, "AAC": adaptive}
    yield Finding(
        "Adaptive bounds let certain tokens fall further and uncertain ones rise further, and touch nothing else.",
        f"{TOKENS:,} random tokens, every seed: fewer clipped on the left where h <= 0 and on the right where h > 0, "
        "and exactly as many on the other two sides",
        f"left, h <= 0: {left_before:.3f} → {left_after:.3f}; right, h > 0: {right_before:.3f} → {right_after:.3f}; "
        f"other sides differ by {np.abs(fixed - adaptive)[:, 2:].max():g}",
        bool((adaptive[:, :2] < fixed[:, :2]).all() and (adaptive[:, 2:] == fixed[:, 2:]).all()),
        "independent check: 0.093 → 0.065; 0.119 → 0.103",
        raw={f"{arm}, {side}": x[:, i].tolist() for arm, x in arms.items() for i, side in enumerate(SIDES)},
    )
    series = (Series(arm, SIDES, x.mean(0).tolist(), marks=True) for arm, x in arms.items())
    yield Chart("Share of tokens that the clip silences", "side and tokens", "share", tuple(series))


def _filler_stands_still(seeds: tuple[int, ...]) -> Finding:
    pushes = [_filler_pushes(seed) for seed in seeds]
    averaged, plain = (np.array([push[i] for push in pushes]) for i in (0, 1))
    return Finding(
        "Averaged over tokens, a filler token that stands everywhere is neither pushed up nor down.",
        "groups of 16 answers of random length, every seed: |gradient on the filler's logit| < 1e-5 with TLGA",
        f"largest {np.abs(averaged).max():.1e} with TLGA; GRPO: {np.abs(plain).mean():.1e} on the mean of sizes",
        bool(np.abs(averaged).max() < 1e-5),
        "independent check, lengths 2, 5, 3, 4: 0 against +0.074",
        raw={"gradient with TLGA": averaged.tolist(), "gradient with GRPO": plain.tolist()},
    )


def _clipped_shares(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Share of tokens of each side that a fixed clip of 0.2 silences, and that AAC does, as in an independent check."""
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
    symptoms=("entropy collapses",),
    names=(
        "entrokit.rlvr.interventions.hapo.AdaptiveTemperature",
        "entrokit.rlvr.interventions.hapo.TokenGroupAverage",
        "entrokit.rlvr.interventions.hapo.AdaptiveClip",
        "entrokit.rlvr.interventions.hapo.RedistributeAdvantage",
        "entrokit.decoding.adaptive_temperature.EntropyTemperature",
    ),
    recipes=("hapo", "grpo+token-group-average", "grpo+adaptive-clip+redistribute-advantage"),
    experiments={
        "tabular": Experiment(
            tabular,
            seeds=8,
            minutes=0.1,
            criterion="in every seed adaptive bounds clip less on the two sides that they are meant for and the same "
            "on the others, and a filler token is pushed by less than 1e-5",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=3,
            criterion="more entropy at accuracy 0.2 and a better end than DAPO, by 95 % Student intervals over seeds",
            needs=("trl",),
        ),
    },
)
