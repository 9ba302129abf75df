"""What a run's evaluations on held-out prompts say of its boundary: coverage, support, and two entropies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from entrokit.runs import Completion

from .coverage import Interval, detection_threshold, pass_at_k_interval
from .support import SupportReport, answer_entropy, net_change_interval, support_dynamics

_RIGHT = 1.0 - 1e-6
_BOXED = "\\boxed{"
NO_ANSWER = "(no answer)"


@dataclass(frozen=True)
class Moment:
    """One evaluation.

    Attributes:
        pass_at: pass@k with intervals. token_entropy, answer_entropy: nats, means over prompts.
        tied: share of the solved prompts with several distinct right answers. A 0/1 reward ties them, and where optimal
            answers tie, a small change of the reward can decide between them (arXiv 2507.20150); NaN if none is solved.
    """

    step: float
    prompts: int
    attempts: int
    pass_at: dict[int, Interval]
    token_entropy: float | None
    answer_entropy: float
    tied: float


@dataclass(frozen=True)
class Boundary:
    """The first and the last evaluation of the same prompts.

    Attributes:
        support: problems solved in any of the attempts, before and after. net_change: NSCR and its interval.
        unseen_below: with 95 % confidence, a right answer that was never seen has at most this probability.
    """

    first: Moment
    last: Moment
    support: SupportReport
    net_change: Interval
    unseen_below: float


def boundary_of(completions: Iterable[Completion]) -> Boundary | None:
    """From the completions of two evaluations; None where they do not hold the same prompts, rewarded, at two steps."""
    by_step: dict[float, dict[str, list[Completion]]] = {}
    for c in completions:
        if c.reward is not None:
            by_step.setdefault(c.step, {}).setdefault(c.prompt, []).append(c)
    if len(by_step) < 2:
        return None
    first, last = (by_step[s] for s in (min(by_step), max(by_step)))
    prompts = [p for p in first if p in last]
    attempts = min((len(t[p]) for t in (first, last) for p in prompts), default=0)
    if not attempts:
        return None
    # Unequal numbers of attempts would fake discovery or loss.
    before, after = ([t[p][:attempts] for p in prompts] for t in (first, last))
    solved = [[any(_right(c) for c in group) for group in groups] for groups in (before, after)]
    return Boundary(
        _moment(min(by_step), before, attempts),
        _moment(max(by_step), after, attempts),
        support_dynamics(*solved),
        net_change_interval(*solved),
        detection_threshold(attempts, exact=True),
    )


def extract_answer(text: str) -> str:
    r"""The answer of a completion: ``\boxed{…}``, what follows ``####`` or ``</think>``, else the last line."""
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    tail = text.rpartition("####")[2] if "####" in text else text.rpartition("</think>")[2]
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return lines[-1] if lines else NO_ANSWER


def _last_boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{…}``, braces of its own included; None without one that is closed."""
    start = text.rfind(_BOXED)
    depth = 1
    for i in range(start + len(_BOXED), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + len(_BOXED) : i].strip()
    return None


def _moment(step: float, groups: Sequence[Sequence[Completion]], attempts: int) -> Moment:
    counts = [sum(map(_right, group)) for group in groups]
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k <= attempts]
    entropies = [float(c.entropy.mean()) for g in groups for c in g if c.entropy is not None and len(c.entropy)]
    answers = [[NO_ANSWER if c.truncated else extract_answer(c.text) for c in group] for group in groups]
    return Moment(
        step,
        len(groups),
        attempts,
        {k: pass_at_k_interval(counts, attempts, k) for k in ks},
        float(np.mean(entropies)) if entropies else None,
        float(np.mean([answer_entropy(a) for a in answers])),
        _tied(groups, answers),
    )


def _tied(groups: Sequence[Sequence[Completion]], answers: Sequence[Sequence[str]]) -> float:
    right = [{a for c, a in zip(g, own, strict=True) if _right(c)} for g, own in zip(groups, answers, strict=True)]
    solved = [r for r in right if r]
    return sum(len(r) > 1 for r in solved) / len(solved) if solved else math.nan


def _right(c: Completion) -> bool:
    return c.reward is not None and c.reward >= _RIGHT
