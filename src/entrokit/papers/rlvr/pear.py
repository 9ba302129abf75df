"""PEAR: thinking that dawdles is thinking that is unsure; pay for it, and it gets short."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entrokit.distributions import entropy
from entrokit.report import Chart, Series
from entrokit.rlvr.interventions.pear import pear_reward

from ..claims import metric_gap
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

RECIPE = "grpo+pear(end_of_thinking='|')"
GROUP, UPDATES, MOST_THINKING, NEEDED = 32, 200, 40, 3
USEFUL, WANDER, CLOSE = range(3)
ARMS = {"correctness alone": False, "PEAR": True}
MEASURED = ("length", "accuracy")


def miniature(budget: Budget) -> Iterator[Shown]:
    courses = {arm: np.array([toy_reasoner(s, shaped) for s in budget.seeds]) for arm, shaped in ARMS.items()}
    yield _dawdling(courses)
    series = (Series(arm, list(range(UPDATES)), c[:, 0].mean(0).tolist()) for arm, c in courses.items())
    yield Chart("A toy reasoner", "update", "tokens per response", tuple(series))


def pocket(budget: Budget) -> Iterator[Shown]:
    bench = budget.pocket("sums", steps=400)
    yield metric_gap(
        bench,
        RECIPE,
        "grpo",
        "completions/mean_length",
        claim="With PEAR's reward the completions get shorter.",
        raises=False,
        reference="paper: 32 to 57 % fewer tokens",
    )
    yield metric_gap(
        bench,
        RECIPE,
        "grpo",
        "pass@1",
        claim="They stay as accurate.",
        bound=-0.03,
        reference="paper: within 1 point",
    )


def _dawdling(courses: dict[str, NDArray[np.float64]]) -> Finding:
    """Of `toy_reasoner` by arm, ``[seeds, 2, UPDATES]``."""
    ends = {arm: c[:, :, -20:].mean(2) for arm, c in courses.items()}
    mean = {arm: e.mean(0) for arm, e in ends.items()}
    error = {arm: float(e[:, 0].std(ddof=1) / np.sqrt(len(e))) for arm, e in ends.items()}
    start = {arm: c[:, :, :5].mean((0, 2)) for arm, c in courses.items()}
    (length, accuracy), (length_pear, accuracy_pear) = (mean[arm] for arm in ARMS)
    return Finding(
        "Paying for excess thinking entropy shortens thinking to what is needed, at no cost in accuracy.",
        "toy reasoner, mean of the last 20 of 200 updates over seeds: PEAR's length <= 5.5 (the least is 5) and at "
        "least 15 % below correctness alone, accuracies within 0.02",
        "; ".join(
            f"{arm}: length {start[arm][0]:.1f} → {mean[arm][0]:.2f} ± {error[arm]:.2f}, "
            f"accuracy {start[arm][1]:.3f} → {mean[arm][1]:.3f}"
            for arm in ARMS
        ),
        bool(length_pear <= 5.5 and length_pear <= 0.85 * length and abs(accuracy_pear - accuracy) <= 0.02),
        "independent check, 4 seeds: 14.3 → 8.3, 0.795 → 0.999; 14.5 → 5.01, 0.795 → 0.999",
        raw={f"{what}, {arm}": e[:, i].tolist() for arm, e in ends.items() for i, what in enumerate(MEASURED)},
    )


def toy_reasoner(seed: int, shaped: bool) -> NDArray[np.float64]:
    """Mean length and accuracy of every update's responses, ``[2, UPDATES]``.

    The setting of an independent check: a response makes useful steps, wanders or closes its thinking, at most 40
    times; then it answers with one of three tokens, and is right after three useful steps and token 0.
    """
    g = torch.Generator().manual_seed(seed)
    think = torch.tensor([[0.0, 1.0, -3.0]] * NEEDED + [[-3.0, 1.0, -0.5]]).requires_grad_()
    answer = torch.tensor([2.0, 0.0, 0.0]).requires_grad_()
    course = []
    for _ in range(UPDATES):
        states, actions, thinking, answered, tokens = _responses(think.detach(), answer.detach(), g)
        solved = ((states == NEEDED) & (actions == CLOSE) & thinking).any(1)
        correct = answered & solved & (tokens == 0)
        reward = correct.float()
        if shaped:
            h = entropy(think.detach(), from_logits=True)[states]
            phase = thinking & (actions != CLOSE)
            h_think = (h * phase).sum(1) / phase.sum(1).clamp(min=1)
            h_answer = entropy(answer.detach(), from_logits=True).expand(GROUP)
            reward = pear_reward(h_think, h_answer, correct)
        advantages = (reward - reward.mean()) / (reward.std(correction=0) + 1e-6)
        logp = think.log_softmax(-1)[states, actions]
        logp_answer = answer.log_softmax(-1)[tokens]
        length = thinking.sum(1) + answered
        total = (logp * thinking).sum(1) + logp_answer * answered
        gradients = torch.autograd.grad(-(advantages * total / length).mean(), (think, answer))
        with torch.no_grad():
            for parameter, gradient in zip((think, answer), gradients, strict=True):
                parameter -= 10.0 * gradient
        course.append((float(length.float().mean()), float(correct.float().mean())))
    return np.array(course).T


def _responses(think: Tensor, answer: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """States, actions, which of them happened ``[GROUP, MOST_THINKING]``; who answered, and with what ``[GROUP]``."""
    p = think.softmax(-1)
    state, going = torch.zeros(GROUP, dtype=torch.long), torch.ones(GROUP, dtype=torch.bool)
    states, actions, happened = [], [], []
    for _ in range(MOST_THINKING):
        action = torch.multinomial(p[state], 1, generator=g)[:, 0]
        states.append(state)
        actions.append(action)
        happened.append(going)
        state = torch.where(going & (action == USEFUL), (state + 1).clamp(max=NEEDED), state)
        going = going & (action != CLOSE)
    tokens = torch.multinomial(answer.softmax(-1), GROUP, replacement=True, generator=g)
    return torch.stack(states, 1), torch.stack(actions, 1), torch.stack(happened, 1), ~going, tokens


PAPER = Paper(
    slug="pear",
    title="PEAR: Phase Entropy Aware Reward for Efficient Reasoning",
    arxiv="2510.08026",
    year=2025,
    family="rlvr: rewards and advantages",
    claim="A right answer that is worth less for unsure thinking shortens reasoning without a length target.",
    symptoms=("completions grow too long",),
    names=(
        "entrokit.rlvr.interventions.pear.Pear",
        "entrokit.rlvr.interventions.pear.phase_entropy",
        "entrokit.rlvr.interventions.pear.pear_reward",
        "entrokit.rlvr.tasks.sums",
    ),
    recipes=("grpo+pear", RECIPE),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.1,
            criterion="on means over seeds, PEAR's responses end at 5.5 tokens or fewer, 15 % shorter than with "
            "correctness alone, at an accuracy within 0.02",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=6,
            criterion="completions are shorter than GRPO's and less than 0.03 less accurate at the end, by 95 % "
            "Student intervals over seeds",
            needs=("trl",),
        ),
    },
)
