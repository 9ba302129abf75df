"""DiffAdapt: entropy is U-shaped in difficulty, and a small probe tells hard from easy where a linear one cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from entrokit.decoding.difficulty import STRATEGIES, DifficultyProbe, label_difficulty, u_shape_report
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

QUESTIONS, TRAINED, ANSWERS = 1500, 1200, 10
_ALPHA, _BETA, _GAMMA = 0.6, 0.36, 0.3


def miniature(budget: Budget) -> Iterator[Shown]:
    worlds = {s: world(s) for s in budget.seeds}
    shapes = [u_shape_report(level, entropy, rate).entropy for level, entropy, rate, _, _ in worlds.values()]
    ends = [min(shape[0], shape[-1]) / min(shape) for shape in shapes]
    yield Finding(
        "Mean entropy is high on easy and on hard questions, and low between.",
        "1500 questions of 10 levels, every seed: levels 1 and 10 at least 30 % above the least",
        f"least ratio over seeds {min(ends):.2f}",
        min(ends) >= 1.3,
        raw={"lower end over the least": ends},
    )
    probed = [(s, states, labels) for s, (_, _, _, states, labels) in worlds.items()]
    mlp, spent = zip(*(routed(states, labels, s, hidden=32) for s, states, labels in probed), strict=True)
    linear = [routed(states, labels, s, hidden=None)[0] for s, states, labels in probed]
    yield Finding(
        "A two-layer probe reads the difficulty off a hidden state and saves tokens; a linear one cannot.",
        "300 held-out questions, every seed: two layers right in at least 0.80, linear at most 0.65, mean token "
        "budget at most 0.80 of always-normal",
        f"two layers {min(mlp):.3f} to {max(mlp):.3f}, linear {min(linear):.3f} to {max(linear):.3f}, budget "
        f"{min(spent):.3f} to {max(spent):.3f}",
        min(mlp) >= 0.80 and max(linear) <= 0.65 and max(spent) <= 0.80,
        "independent check, 3 seeds: 0.887 to 0.903, 0.44 to 0.51, 0.72; paper: 10 to 22 % of tokens saved",
        {"accuracy, two layers": mlp, "accuracy, linear": linear, "budget, two layers": spent},
    )
    mean = torch.tensor(shapes).mean(0).tolist()
    yield Chart("Entropy by difficulty", "level", "nats", (Series("mean over seeds", list(range(1, 11)), mean),))


def world(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Levels, mean entropies, rates, hidden states and labels of 1500 questions (an independent check's setting)."""
    g = torch.Generator().manual_seed(seed)
    level = torch.randint(1, 11, (QUESTIONS,), generator=g)
    noise = 0.05 * torch.randn(QUESTIONS, ANSWERS, generator=g)
    entropy = (0.25 + 0.012 * (level[:, None] - 5.5) ** 2 + noise).mean(1)
    right = torch.rand(QUESTIONS, ANSWERS, generator=g) < 1 / (1 + torch.exp(1.2 * (level[:, None] - 7.5)))
    rate = right.float().mean(1)
    angle = 2 * math.pi * torch.rand(QUESTIONS, generator=g)
    circle = level[:, None] / 10 * torch.stack([angle.cos(), angle.sin()], 1)
    states = circle @ torch.randn(2, 8, generator=g) + 0.05 * torch.randn(QUESTIONS, 8, generator=g)
    return level, entropy, rate, states, label_difficulty(rate, entropy, _ALPHA, _BETA, _GAMMA)


def routed(states: Tensor, labels: Tensor, seed: int, hidden: int | None) -> tuple[float, float]:
    """Accuracy on held-out questions, and the mean token budget as a share of always-normal's."""
    torch.manual_seed(seed)
    probe = DifficultyProbe(states.shape[1], hidden=hidden)
    probe.fit(states[:TRAINED], labels[:TRAINED], lr=1e-2, epochs=60, batch_size=128, seed=seed)
    chosen = probe.predict(states[TRAINED:])
    shares = torch.tensor([s.token_fraction for s in STRATEGIES])
    return float((chosen == labels[TRAINED:]).float().mean()), float(shares[chosen].mean())


PAPER = Paper(
    slug="diffadapt",
    title="DiffAdapt: Difficulty-Adaptive Reasoning for Token-Efficient LLM Inference",
    arxiv="2510.19669",
    year=2025,
    family="decoding",
    claim="A probe on the prompt's hidden state picks how a question is answered, and saves what need not be said.",
    names=(
        "entrokit.decoding.difficulty.DifficultyProbe",
        "entrokit.decoding.difficulty.label_difficulty",
        "entrokit.decoding.difficulty.route",
        "entrokit.decoding.difficulty.generate_routed",
        "entrokit.decoding.difficulty.u_shape_report",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.decoding.difficulty import DifficultyProbe, route\n"
        "hidden, labels = torch.randn(300, 8), torch.arange(300) % 3  # 0 easy, 1 normal, 2 hard\n"
        "probe = DifficultyProbe(8).fit(hidden + 2 * torch.eye(8)[labels], labels)\n"
        "print([(how.prompt, limit) for how, limit in route(4 * torch.eye(8)[:3], probe)])"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.05,
            criterion="in every seed entropy is 30 % higher at both ends of difficulty than between, and a two-layer "
            "probe reads difficulty where a linear one cannot, and spends at most 0.80 of the tokens",
        ),
    },
)
