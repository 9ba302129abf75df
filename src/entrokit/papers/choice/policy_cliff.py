"""The Policy Cliff: optimal policies jump where actions tie; entropy regularisation makes them glide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from entrokit.bench.tabular import improve
from entrokit.choice.reward_map import (
    greedy_policy,
    optimal_q,
    policy_sensitivity,
    soft_optimal,
    tie_breaker,
    tv_lipschitz_bound,
)
from entrokit.distributions import token_statistics
from entrokit.report import Chart, Series
from entrokit.rlvr import Context, PolicyStats, Rollouts, recipe

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

_GAMMA = 0.9
_R = np.array([[0.0, 0.0], [1.0, 0.2], [1.0, 0.5]])
_SCALES = np.logspace(-6, 0, 13)
_SOFT = 0.1

# The world of two equally right answers: 64 prompts, 8 answers, 60 batches of 16 samples with 4 updates each.
_STATES, _ACTIONS, _SAMPLES, _STEPS, _UPDATES, _RATE = 64, 8, 16, 60, 4, 19.2
_EDGE = 0.02
PLAIN, SMOOTH = "dr_grpo", "dr_grpo+entropy-bonus(coef=0.3)"


def miniature(budget: Budget) -> Iterator[Shown]:
    curves = [_sensitivities(s) for s in budget.seeds]
    yield _cliff(curves)
    yield _chart(curves)
    yield _bound(budget.seeds)
    moved = {spec: [jump(spec, s) for s in budget.seeds] for spec in (PLAIN, SMOOTH)}
    yield judge_interval(
        f"In training too: which of two equally right answers is worth {_EDGE:g} more decides the policy, and an "
        "entropy bonus smooths that.",
        f"total variation between policies trained on both rewards, {SMOOTH} minus {PLAIN}",
        "",
        moved[SMOOTH],
        moved[PLAIN],
        moved,
        above=False,
    )


def kernel() -> NDArray[np.float64]:
    """MDP-A, of an independent check: in state 0 both actions are optimal."""
    p = np.zeros((3, 2, 3))
    p[0, 0, 1] = p[0, 1, 2] = p[1, 0, 1] = p[1, 1, 0] = p[2, 0, 2] = 1.0
    p[2, 1, 0] = p[2, 1, 1] = 0.5
    return p


def jump(spec: str, seed: int) -> float:
    """Mean total variation between policies trained where one, or the other, of two right answers is worth more."""
    one, other = (trained(spec, seed, edge) for edge in (_EDGE / 2, -_EDGE / 2))
    return float(0.5 * (one - other).abs().sum(1).mean())


def trained(spec: str, seed: int, edge: float) -> torch.Tensor:
    """The policy ``[S, A]`` after training where answer 0 is worth ``1 + edge`` and answer 1 ``1 - edge``."""
    chosen, generator = recipe(spec), torch.Generator().manual_seed(seed)
    logits = torch.randn(_STATES, _ACTIONS, generator=generator).requires_grad_()
    worth = torch.zeros(_ACTIONS)
    worth[0], worth[1] = 1.0 + edge, 1.0 - edge
    state = torch.arange(_STATES).repeat_interleave(_SAMPLES)
    for step in range(_STEPS):
        with torch.no_grad():
            drawn = torch.multinomial(logits.softmax(-1), _SAMPLES, replacement=True, generator=generator)
        tokens = drawn.reshape(-1, 1)

        def statistics(tokens: torch.Tensor = tokens) -> PolicyStats:
            return PolicyStats.of(token_statistics(logits[state][:, None], tokens, need=chosen.needs))

        with torch.no_grad():
            behaviour = statistics()
        everywhere, reward = torch.ones_like(tokens, dtype=torch.bool), worth[drawn].reshape(-1)
        rollouts = Rollouts(tokens, everywhere, everywhere, state, reward, behaviour, correct=reward > 0)
        improve(chosen, logits, statistics, rollouts, _UPDATES, _RATE, Context(step, _STEPS, generator))
    return logits.detach().softmax(-1)


def _sensitivities(seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    direction = np.random.default_rng(seed).uniform(-1, 1, size=(1, 3, 2))
    direction /= np.abs(direction).max()
    hard, soft = (policy_sensitivity(_R, kernel(), _GAMMA, direction, list(_SCALES), a).distance for a in (None, _SOFT))
    return hard, soft


def _cliff(curves: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> Finding:
    first = [hard[0] for hard, _ in curves]
    small = _SCALES < 1e-3
    slopes = [float(np.polyfit(np.log(_SCALES[small]), np.log(np.array(soft)[small]), 1)[0]) for _, soft in curves]
    return Finding(
        "A change of the reward of one millionth switches the optimal policy; the entropy-regularised one moves in "
        "proportion.",
        "MDP-A, a random direction a seed: hard policy moves by >= 0.5 at 1e-6; log-log slope of the soft one "
        "(α = 0.1) below 1e-3 in 0.95 to 1.05, every seed",
        f"hard {min(first):.2f} to {max(first):.2f}; slope {min(slopes):.3f} to {max(slopes):.3f}",
        min(first) >= 0.5 and min(slopes) >= 0.95 and max(slopes) <= 1.05,
        raw={"hard policy moves at 1e-6 by": first, "slope of the soft one": slopes},
    )


def _bound(seeds: tuple[int, ...]) -> Finding:
    ratios: list[float] = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for _ in range(25):
            reward, change = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)) * 0.1
            p = rng.dirichlet(np.ones(4), size=(4, 3))
            for alpha in (0.1, 1.0):
                one, other = (soft_optimal(r, p, _GAMMA, alpha)[1] for r in (reward, reward + change))
                moved = 0.5 * np.abs(one - other).sum(1).max()
                ratios.append(float(moved) / tv_lipschitz_bound(float(np.abs(change).max()), alpha, _GAMMA))
    edge = tie_breaker(_R, kernel(), _GAMMA, 0, 1, 0.01)
    hard = 0.5 * np.abs(
        greedy_policy(optimal_q(edge, kernel(), _GAMMA)) - greedy_policy(optimal_q(_R, kernel(), _GAMMA))
    )
    return Finding(
        "The soft policy moves by at most the change of the reward over 2 α (1 - γ); the hard one knows no such bound.",
        f"{len(ratios)} random problems: movement over bound <= 1 for all; hard policy on MDP-A jumps by 0.5 for 0.01",
        f"largest ratio {max(ratios):.3f}; hard policy moves by {hard.sum(1)[0]:.2f}",
        max(ratios) <= 1.0 and float(hard.sum(1)[0]) == 0.5,
        raw={
            "largest ratio": np.reshape(ratios, (len(seeds), -1)).max(1).tolist(),
            "hard policy moves by": [float(hard.sum(1)[0])],
        },
    )


def _chart(curves: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> Chart:
    hard, soft = (np.mean([c[i] for c in curves], axis=0).tolist() for i in (0, 1))
    scales = [f"{s:.0e}" for s in _SCALES]
    return Chart(
        "How far the optimal policy moves",
        "size of the change of reward",
        "total variation, mean over directions",
        (Series("hard", scales, hard), Series("soft, α = 0.1", scales, soft)),
    )


PAPER = Paper(
    slug="policy-cliff",
    title="The Policy Cliff: A Theoretical Analysis of Reward-Policy Maps in Large Language Models",
    arxiv="2507.20150",
    year=2025,
    family="diagnosis",
    claim="Optimal policies jump wherever actions tie, however small the change of reward; entropy makes them glide.",
    symptoms=("reward up, accuracy down",),
    names=(
        "entrokit.choice.reward_map.optimal_q",
        "entrokit.choice.reward_map.soft_optimal",
        "entrokit.choice.reward_map.tie_breaker",
        "entrokit.choice.reward_map.policy_sensitivity",
        "entrokit.choice.reward_map.tv_lipschitz_bound",
    ),
    recipes=("grpo+entropy-bonus",),
    example=(
        "from entrokit.choice.reward_map import policy_sensitivity\n"
        "tie, stay = [[1.0, 1.0]], [[[1.0], [1.0]]]  # one state, two actions, equal rewards\n"
        'nudge = {"directions": [[[-1.0, 1.0]]], "scales": [1e-6, 1e-2]}\n'
        'print("hard", policy_sensitivity(tie, stay, 0.9, **nudge).distance)\n'
        'print("soft", policy_sensitivity(tie, stay, 0.9, **nudge, alpha=0.1).distance)'
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.2,
            criterion="a millionth of reward moves the hard policy by half, the soft one in proportion and within its "
            "bound; in training an entropy bonus makes the jump smaller, by a 95 % Student interval over seeds",
        ),
    },
)
