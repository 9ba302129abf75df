"""ProGRPO: over-confident right answers are reinforced less, so that several right answers survive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from entrokit.report import Chart, Series
from entrokit.rlvr.interventions.arm import arm_advantage

from ..claims import accuracy_gap, entropy_gap, gap_chart, matched_chart, metric_gap
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

ARMS = {"GRPO": (0.0, "any_correct"), "ARM": (0.3, "any_correct"), "ARM, mixed groups only": (0.3, "mixed")}
START = (0.45, 0.25, 0.15, 0.15)
RIGHT, GROUP, STEPS, REPLICATES = 3, 16, 600, 4


def miniature(budget: Budget) -> Iterator[Shown]:
    courses = {arm: np.array([four_answers(s, *knobs) for s in budget.seeds]) for arm, knobs in ARMS.items()}
    yield _survival(courses)
    series = (Series(arm, list(range(STEPS + 1)), c[:, 0].mean(0).tolist()) for arm, c in courses.items())
    yield Chart("One prompt, three right answers", "step", "entropy among the right (nats)", tuple(series))


def pocket(budget: Budget) -> Iterator[Shown]:
    bench = budget.pocket()
    yield entropy_gap(bench, "dapo+arm", "dapo", claim="ARM keeps entropy up at equal accuracy.", bound=0.0)
    yield metric_gap(
        bench,
        "dapo+arm",
        "dapo",
        "eval_pass@16",
        claim="More prompts are solved by some of 16 answers.",
        reference="paper, 7B, Pass@32 against GRPO: 54.7 → 68.5",
    )
    yield accuracy_gap(
        bench,
        "dapo+arm",
        "dapo",
        claim="The policy ends better.",
        reference="paper, 7B, Pass@1 against GRPO: 37.6 → 43.3",
    )
    yield matched_chart(bench, ["dapo", "dapo+arm"])
    yield gap_chart(bench, ["dapo+arm"], "dapo")


def _survival(courses: dict[str, NDArray[np.float64]]) -> Finding:
    """Of `four_answers` by arm, ``[seeds, 2, STEPS + 1]``."""
    entropy = {arm: c[:, 0].mean(0) for arm, c in courses.items()}
    accuracy = {arm: float(c[:, 1, -1].mean()) for arm, c in courses.items()}
    lowest = int(entropy["ARM"].argmin())
    return Finding(
        "GRPO lets the likelier of three right answers win; under ARM entropy first falls, then rises again.",
        "entropy among the right answers after 600 steps, mean over seeds: ARM >= 1.0, GRPO <= 0.8, accuracies within "
        "0.01; ARM's lowest before step 300 and below its end",
        "; ".join(
            f"{arm} {e[1]:.3f}, {e[100]:.3f}, {e[300]:.3f}, {e[600]:.3f} at steps 1, 100, 300, 600 (accuracy "
            f"{accuracy[arm]:.3f})"
            for arm, e in entropy.items()
        )
        + f"; ARM's lowest {entropy['ARM'][lowest]:.3f} at step {lowest}",
        bool(
            entropy["ARM"][-1] >= 1.0
            and entropy["GRPO"][-1] <= 0.8
            and abs(accuracy["ARM"] - accuracy["GRPO"]) <= 0.01
            and lowest < 300
            and entropy["ARM"][lowest] < entropy["ARM"][-1]
        ),
        "independent check, 30 seeds: GRPO 1.003, 0.861, 0.731, 0.637; ARM 1.003, 0.960, 1.012, 1.062",
        raw={f"{what}, {arm}": c[:, i, t].tolist() for arm, c in courses.items() for what, i, t in _measured(lowest)},
    )


def _measured(lowest: int) -> list[tuple[str, int, int]]:
    """Names of what the verdict is made of, with the places where `four_answers` has them."""
    entropies = [(f"entropy at step {t}", 0, t) for t in sorted({1, 100, 300, 600, lowest})]
    return [*entropies, ("accuracy at the end", 1, -1)]


def four_answers(seed: int, alpha: float, active: str) -> NDArray[np.float64]:
    """Entropy among the right answers and accuracy before every step and at the end, ``[2, STEPS + 1]``.

    The mean of four runs, in the setting of an independent check.
    """
    g = torch.Generator().manual_seed(seed)
    logits = torch.tensor(START, dtype=torch.float64).log().repeat(REPLICATES, 1)
    group = torch.arange(REPLICATES).repeat_interleave(GROUP)
    course = []
    for _ in range(STEPS + 1):
        p = logits.softmax(-1)
        right = p[:, :RIGHT]
        q = right / right.sum(1, keepdim=True)
        course.append((float(-(q * q.log()).sum(1).mean()), float(right.sum(1).mean())))
        answers = torch.multinomial(p, GROUP, replacement=True, generator=g)
        conf = p.gather(1, answers).flatten()
        reward = (answers < RIGHT).double().flatten()
        advantages = arm_advantage(reward, conf, torch.full_like(conf, 0.25), group, alpha, active).view(answers.shape)
        chosen = torch.nn.functional.one_hot(answers, len(START)).double()
        logits = logits + 0.1 * (advantages[..., None] * (chosen - p[:, None])).mean(1)
    return np.array(course).T


PAPER = Paper(
    slug="progrpo",
    title="Back to Basics: Revisiting Exploration in Reinforcement Learning for LLM Reasoning via Generative "
    "Probabilities",
    arxiv="2602.05281",
    year=2026,
    family="rlvr: rewards and advantages",
    claim="Advantages that fall with the confidence of an answer keep several right answers alive.",
    symptoms=("entropy collapses", "pass@k falls"),
    names=(
        "entrokit.rlvr.interventions.arm.ARM",
        "entrokit.rlvr.interventions.arm.arm_advantage",
        "entrokit.rlvr.interventions.arm.low_prob_confidence",
    ),
    recipes=("dapo+arm",),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.05,
            criterion="on means over seeds, entropy among the right answers ends at 1.0 nats or more with ARM, after "
            "a dip before step 300, and at 0.8 or less with GRPO, accuracies within 0.01",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=3,
            criterion="more entropy at accuracy 0.2, and a higher Pass@16 and accuracy at the end than DAPO, by 95 % "
            "Student intervals over seeds",
            needs=("trl",),
        ),
    },
)
