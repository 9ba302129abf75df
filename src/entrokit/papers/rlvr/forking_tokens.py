"""Forking tokens: the fifth of tokens with the highest entropy carries the whole signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from entrokit.bench import Bench, improve
from entrokit.distributions import token_statistics
from entrokit.report import Chart, Series
from entrokit.rlvr import Context, PolicyStats, Rollouts, recipe

from ..claims import accuracy_gap, entropy_gap, gap_chart, matched_chart
from ..paper import Budget, Evidence, Finding, Paper


def specs(bench: Bench) -> tuple[str, str]:
    """Top 20 % and lowest 80 %.

    In a table every state's entropy crosses a threshold of the behaviour policy within one inner step, so that most of
    the batch is no longer trained; there the threshold follows the current policy, as in the official code.
    """
    scope = ", scope='micro'" if bench.name == "tabular" else ""
    return f"grpo+forking-tokens(rho=0.2{scope})", f"grpo+forking-tokens(rho=0.2, invert=True{scope})"


def reproduce(seed: int, budget: Budget) -> Evidence:
    bench = budget.open(seed)
    top, bottom = specs(bench)
    bench.courses("grpo", top, bottom)
    findings = [
        entropy_gap(
            bench,
            top,
            "grpo",
            claim="Training the top 20 % alone keeps entropy up.",
            bound=0.06,
            reference="sheet, tabular: +0.148 ± 0.012",
        ),
        entropy_gap(
            bench,
            bottom,
            "grpo",
            claim="Training the lowest 80 % alone spends more entropy.",
            bound=-0.02,
            raises=False,
            reference="sheet, tabular: -0.073 ± 0.006",
        ),
    ]
    charts = [matched_chart(bench, ["grpo", top, bottom]), gap_chart(bench, [top, bottom], "grpo")]
    if bench.name == "tabular":
        finding, chart = _signal(tuple(bench.seeds))
        findings.insert(0, finding)
        charts.insert(0, chart)
    else:
        findings += [
            accuracy_gap(
                bench,
                top,
                "grpo",
                claim="The top 20 % alone end better than all tokens.",
                reference="paper, 32B, six benchmarks: 66.59 → 70.69; 8B: 53.71 → 54.23",
            ),
            accuracy_gap(bench, bottom, "grpo", claim="The lowest 80 % alone end worse than all tokens.", raises=False),
        ]
    return Evidence(PAPER.slug, bench.name, tuple(bench.seeds), tuple(findings), tuple(charts))


ARMS = {
    "all tokens": "dapo",
    "top 20 %": "dapo+forking-tokens(rho=0.2, scope='micro')",
    "top 20 %, all in the denominator": "dapo+forking-tokens(rho=0.2, normalize='all', scope='micro')",
    "lowest 80 %": "dapo+forking-tokens(rho=0.2, invert=True, scope='micro')",
}


def _signal(seeds: tuple[int, ...]) -> tuple[Finding, Chart]:
    curves = {arm: np.mean([ForkWorld(seed).train(spec) for seed in seeds], axis=0) for arm, spec in ARMS.items()}
    everything, top, same, bottom = (float(curve[100]) for curve in curves.values())
    finding = Finding(
        "Forks carry the whole signal: dropping the other tokens loses nothing, keeping only those learns nothing.",
        "4 forks among 20 tokens, probability of the right branch after 100 steps, mean over seeds: top 20 % >= 0.95, "
        "all tokens >= 0.88, equal within 0.03 with one denominator, lowest 80 % < 0.2",
        f"top 20 % {top:.3f}, all tokens {everything:.3f}, top 20 % with all in the denominator {same:.3f}, "
        f"lowest 80 % {bottom:.3f}",
        top >= 0.95 and everything >= 0.88 and abs(same - everything) < 0.03 and bottom < 0.2,
        "sheet, 5 seeds: 0.984, 0.922, 0.922, 0.123",
    )
    series = tuple(Series(arm, list(range(len(curve))), curve.tolist()) for arm, curve in curves.items())
    return finding, Chart("Four forks among twenty tokens", "step", "probability of the right branch", series)


@dataclass(frozen=True)
class ForkWorld:
    """20 positions of 8 options: 4 undecided forks that earn the reward, 16 followers that the policy knows already
    (sheet `forking-tokens`, check 6).
    """

    seed: int
    positions: int = 20
    options: int = 8
    forks: int = 4
    group: int = 32
    updates: int = 2
    learning_rate: float = 2.0
    steps: int = 100

    def train(self, spec: str) -> NDArray[np.float64]:
        """Mean probability of the right option at forks, before every step and at the end: ``[steps + 1]``."""
        chosen = recipe(spec)
        generator = torch.Generator().manual_seed(self.seed)
        right = torch.randint(self.options, (self.positions,), generator=generator)
        is_fork = torch.randperm(self.positions, generator=generator) < self.forks
        known = torch.nn.functional.one_hot(right, self.options) * 6.0
        unsure = 0.2 * torch.randn(self.positions, self.options, generator=generator)
        logits = torch.where(is_fork[:, None], unsure, known).requires_grad_()
        everywhere = torch.ones(self.group, self.positions, dtype=torch.bool)
        course = []
        for step in range(self.steps + 1):
            with torch.no_grad():
                p = logits.softmax(-1)
                course.append(float(p[is_fork, right[is_fork]].mean()))
                tokens = torch.multinomial(p, self.group, replacement=True, generator=generator).T.contiguous()
            if step == self.steps:
                break
            reward = (tokens == right)[:, is_fork].float().mean(1)
            rollouts = Rollouts(
                tokens=tokens,
                real=everywhere,
                trained=everywhere,
                group=torch.zeros(self.group, dtype=torch.long),
                reward=reward,
                behaviour=self._statistics(logits.detach(), tokens, chosen.needs),
            )

            def current(tokens: torch.Tensor = tokens) -> PolicyStats:
                return self._statistics(logits, tokens, chosen.needs)

            context = Context(step=step, total_steps=self.steps, generator=generator)
            improve(chosen, logits, current, rollouts, self.updates, self.learning_rate, context)
        return np.array(course)

    def _statistics(self, logits: torch.Tensor, tokens: torch.Tensor, needs: frozenset[str]) -> PolicyStats:
        return PolicyStats.of(token_statistics(logits.expand(len(tokens), -1, -1), tokens, need=needs))


PAPER = Paper(
    slug="forking-tokens",
    title="Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective RL for LLM Reasoning",
    arxiv="2506.01939",
    year=2025,
    family="rlvr: tokens",
    claim="The 20 % of tokens with the highest entropy carry nearly all of what RLVR learns; they alone are enough.",
    names=(
        "entrokit.rlvr.interventions.forking_tokens.ForkingTokens",
        "entrokit.rlvr.interventions.forking_tokens.high_entropy_mask",
        "entrokit.decoding.forks.fork_temperature",
    ),
    recipes=("dapo+forking-tokens", "dapo+forking-tokens(rho=0.2, invert=True)"),
    reproduce=reproduce,
)
