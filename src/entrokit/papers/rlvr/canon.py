"""CANON: the direction of a metric that pays is amplified, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from entrokit.report import Chart, Series
from entrokit.rlvr import dr_grpo_advantages
from entrokit.rlvr.interventions.canon import canon_advantage

from ..claims import accuracy_gap, matched_chart, metric_gap
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

LENGTH = "dr_grpo+canon(metric='length', alpha=0.9)"
WORLDS = {"style pays": (0.6, 0.3), "plain pays": (0.3, 0.6)}
ARMS = ("μ = 0", "μ = 0.5", "μ = 1", "fixed bonus")
REPLICATES, GROUP, UPDATES = 25, 16, 20


def miniature(budget: Budget) -> Iterator[Shown]:
    courses = {
        world: np.array([[style(s, arm, *pays) for s in budget.seeds] for arm in ARMS])
        for world, pays in WORLDS.items()
    }
    yield _direction({world: c[:, :, -1] for world, c in courses.items()})
    for world, course in courses.items():
        series = (
            Series(arm, list(range(UPDATES + 1)), c.mean(0).tolist()) for arm, c in zip(ARMS, course, strict=True)
        )
        yield Chart(world, "update", "share of style", tuple(series))


def pocket(budget: Budget) -> Iterator[Shown]:
    countdown = budget.pocket()
    yield accuracy_gap(
        countdown,
        "dr_grpo+canon",
        "dr_grpo",
        claim="By entropy, comparing with the other half alone (μ = 1) ends better than Dr.GRPO.",
        reference="paper, 7B, six benchmarks: 55.7 → 57.6",
    )
    yield matched_chart(countdown, ["dr_grpo", "dr_grpo+canon"])
    sums = budget.pocket("sums", steps=400)
    yield metric_gap(
        sums,
        LENGTH,
        "dr_grpo",
        "completions/mean_length",
        claim="By length with α = 0.9 the completions get shorter.",
        raises=False,
        reference="paper: 45.5 % fewer tokens at equal accuracy",
    )
    yield metric_gap(sums, LENGTH, "dr_grpo", "pass@1", claim="They stay as accurate.", bound=-0.03)


def _direction(ends: dict[str, NDArray[np.float64]]) -> Finding:
    """Of shares of style at the end, ``[arms, seeds]`` a world."""
    mean = {world: e.mean(1) for world, e in ends.items()}
    error = {world: e.std(1, ddof=1) / np.sqrt(e.shape[1]) for world, e in ends.items()}
    ordered = all(
        sign * (mean[w][i + 1] - mean[w][i]) >= 0.03
        for w, sign in (("style pays", 1), ("plain pays", -1))
        for i in (0, 1)
    )
    return Finding(
        "The more the halves are compared with each other, the faster the direction that pays is learnt, whichever it "
        "is; a fixed bonus knows only one.",
        "one-parameter policy, share of style after 20 updates, mean over seeds: μ = 1 beyond 0.5 beyond 0 by 0.03 in "
        "both worlds, and the fixed bonus still above 0.4 where style does not pay",
        "; ".join(
            f"{w}: " + ", ".join(f"{a} {m:.3f} ± {e:.3f}" for a, m, e in zip(ARMS, mean[w], error[w], strict=True))
            for w in WORLDS
        ),
        ordered and bool(mean["plain pays"][3] > 0.4),
        "independent check, 200 seeds: 0.653, 0.806, 0.861, 0.905; 0.346, 0.200, 0.141, 0.507",
        raw={f"{w}, {arm}": own.tolist() for w in WORLDS for arm, own in zip(ARMS, ends[w], strict=True)},
    )


def style(seed: int, arm: str, pays: float, pays_without: float) -> NDArray[np.float64]:
    """Share of style before every update and at the end, ``[UPDATES + 1]``, mean of 25 policies of one parameter each.

    Style raises the metric; rewards come with probability ``pays`` with it and ``pays_without`` without (the
    setting of an independent check).
    """
    g = torch.Generator().manual_seed(seed)
    theta = torch.zeros(REPLICATES, dtype=torch.float64)
    group = torch.arange(REPLICATES).repeat_interleave(GROUP)
    course = [0.5]
    for _ in range(UPDATES):
        p = theta.sigmoid()[:, None].expand(-1, GROUP)
        s = torch.bernoulli(p, generator=g)
        metric = 0.5 + 0.3 * s + 0.1 * torch.randn(s.shape, generator=g, dtype=torch.float64)
        reward = torch.bernoulli(torch.where(s > 0, pays, pays_without), generator=g).double()
        if arm == "fixed bonus":
            advantages = dr_grpo_advantages((reward + metric).flatten(), group)
        else:
            advantages = canon_advantage(reward.flatten(), metric.flatten(), group, float(arm.split("= ")[1]))
        theta = theta + 0.3 * 4 * (advantages.view(s.shape) * (s - p)).mean(1)
        course.append(float(theta.sigmoid().mean()))
    return np.array(course)


PAPER = Paper(
    slug="canon",
    title="Conditional Advantage Estimation for Reinforcement Learning in Large Reasoning Models",
    arxiv="2509.23962",
    year=2025,
    family="rlvr: rewards and advantages",
    claim="Comparing a completion with the other half of its group amplifies a metric's influence, whatever its sign.",
    symptoms=("entropy collapses", "completions grow too long"),
    names=(
        "entrokit.rlvr.interventions.canon.Canon",
        "entrokit.rlvr.interventions.canon.canon_advantage",
        "entrokit.rlvr.interventions.canon.canon_mu_schedule",
    ),
    recipes=("dr_grpo+canon", LENGTH, "dr_grpo+canon(schedule='cosine-inter-intra')"),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.02,
            criterion="in either world the paying direction is learnt the faster the more the halves are compared "
            "(0.03 a step of μ), while a fixed bonus stays above 0.4 where style does not pay",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=9,
            criterion="by 95 % Student intervals over seeds, the entropy metric ends with higher accuracy, and the "
            "length metric gives shorter completions that are less than 0.03 less accurate",
            needs=("trl",),
        ),
    },
)
