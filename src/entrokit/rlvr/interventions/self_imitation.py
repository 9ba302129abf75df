"""Self-imitation: what went better than usual is trained on again, while it still is better than usual.

Learn the Ropes, Then Trust the Wins: Self-imitation with Progressive Exploration for Agentic RL (SPEAR, arXiv
2509.22601, equations 2 to 5). At update t, over a buffer of own trajectories with advantage > 0 and a list of the mean
rewards of the last groups:

    Ã = R - median(means)  (with ``std``: divided by the median of their standard deviations),  replayed where Ã > 0
    loss = c γ(t) · clipped surrogate with Clip-Cov on Ã,    γ(t) = (1 - cos(π t / T_warm)) / 2, then 1

As soon as more than ``trigger · size`` stored rewards exceed the median, the largest power of two up to ``size`` of
them is replayed, in optimiser steps after those of the generation batch, and the buffer is emptied. The official maths
fork replays with the Clip-Cov constants of the policy loss (its own are commented out); the agents' fork and we do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from entrokit.groups import group_moments

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention, Replay
from ..knobs import check_bool, check_range
from ..replay import TrajectoryBuffer
from ..rollouts import Rollouts
from .covariance import ClipCov
from .tool_reward import tool_calls

__all__ = ["SelfImitation", "recalibrate_advantages"]

_STD_EPS = 1e-6


def cosine_warmup(t: float, total: float) -> float:
    """γ(t): from 0 at 0 up to 1 at ``total`` and after."""
    return 0.5 * (1.0 - math.cos(math.pi * t / total)) if t <= total else 1.0


def recalibrate_advantages(
    rewards: Tensor, baseline_means: Sequence[float] | Tensor, baseline_stds: Sequence[float] | Tensor | None = None
) -> Tensor:
    """Ã ``[B]``: rewards minus the median (linearly interpolated) of group means, over the median of their stds + 1e-6.

    Args:
        rewards: ``[B]``. baseline_means: of past groups; of none, the median is 0. baseline_stds: of the same groups.
    """
    shifted = rewards - median(baseline_means)
    return shifted if baseline_stds is None else shifted / (median(baseline_stds) + _STD_EPS)


def median(values: Sequence[float] | Tensor) -> float:
    """The 50 % quantile, linear between the two in the middle; 0 of nothing."""
    x = torch.as_tensor(values, dtype=torch.float64)
    return float(x.quantile(0.5)) if len(x) else 0.0


@dataclass
class SelfImitation(Intervention):
    """SPEAR's replay. Knobs: `size` (trajectories of a replay), `baseline_size` (group means remembered), `trigger`,
    `tolerate` (updates after which a trajectory is too old), `coef` (c), `warmup` (T_warm, in updates), `std`,
    `tools_only` (keep only completions that call a tool), and Clip-Cov's `ratio`, `low`, `high` on the replay.

    An update is one generation batch. On several processes each remembers its own completions; they replay together.
    """

    name: ClassVar[str] = "self-imitation"
    card: ClassVar[Card] = Card(
        "2509.22601",
        examples=("dr_grpo+self-imitation(size=2, trigger=0.5, tools_only=False)",),
        benches=OnBenches(
            fixed="tools_only=False",
            tuned="size=128, warmup=20",
            impossible_on={"tabular": "there are no updates beside those on the samples"},
        ),
        instead={"tinker": "use it under TRL"},
    )
    replays: ClassVar[bool] = True
    size: int = 2048
    baseline_size: int = 10240
    trigger: float = 1.5
    tolerate: int = 10
    coef: float = 1.0
    warmup: int = 200
    std: bool = False
    tools_only: bool = True
    ratio: float = 0.02
    low: float = 1.0
    high: float = 40.0
    updates: int = field(default=0, init=False, compare=False)
    buffer: TrajectoryBuffer = field(init=False, compare=False, repr=False)
    # Means and standard deviations of the groups of each update.
    baseline: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("size", "baseline_size", "tolerate", "warmup"):
            check_range(self, name, 1)
        check_range(self, "trigger", 0.0)
        check_range(self, "coef", 0.0)
        check_bool(self, "std")
        check_bool(self, "tools_only")
        self._clip_cov()
        # What does not exceed the median waits until it is too old; no more of it than of what is replayed.
        self.buffer = TrajectoryBuffer(most=2 * max(self.size, math.ceil(self.trigger * self.size)))

    @property
    def separable(self) -> bool:
        return True

    def _clip_cov(self) -> ClipCov:
        return ClipCov(self.ratio, self.low, self.high, scope="micro")

    def remember(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> None:
        self.updates += 1
        self.buffer.drop_before(self.updates - self.tolerate)
        better = torch.where(rollouts.trained, advantages, 0.0).sum(1) > 0
        self.buffer.add(rollouts, better & (tool_calls(rollouts) > 0) if self.tools_only else better, self.updates)
        self.baseline.append(_moments_of_groups(rollouts, context))
        while sum(len(means) for means, _ in self.baseline) > self.baseline_size and len(self.baseline) > 1:
            del self.baseline[0]

    def recalibrated(self) -> Tensor:
        """Ã of every stored trajectory, ``[N]``."""
        means, stds = (torch.cat(x) if x else torch.zeros(0) for x in ([b[i] for b in self.baseline] for i in (0, 1)))
        return recalibrate_advantages(self.buffer.rewards, means, stds if self.std else None)

    def replay(self, context: Context) -> Replay | None:
        advantages = self.recalibrated()
        good = (advantages > 0).nonzero()[:, 0]
        counts = context.gather(torch.tensor([len(good)]))
        total, ranks = int(counts.sum()), len(counts)
        if total <= self.trigger * self.size:
            return None
        most = min(self.size, 2 ** int(math.log2(total)))
        share = min(most // ranks, int(counts.min()))
        # One draw over all ranks, of which each takes its own: ranks must leave the shared generator alike.
        start = int(counts[: context.rank].sum())
        order = torch.randperm(total, generator=context.generator) - start
        chosen = good[order[(order >= 0) & (order < len(good))][:share]].tolist()
        if not chosen:
            return None
        rollouts = self.buffer.rollouts(chosen)
        self.buffer.entries.clear()
        spread = torch.where(rollouts.trained, advantages[chosen].float()[:, None], 0.0)
        return Replay(rollouts, spread, self.coef * cosine_warmup(self.updates + 1, self.warmup), (self._clip_cov(),))

    def check_fits(self, vocabulary: int, longest: int) -> None:
        self.buffer.check_fits(vocabulary, longest)

    @property
    def memory_bytes(self) -> int:
        return self.buffer.nbytes + sum(means.nbytes + stds.nbytes for means, stds in self.baseline)

    def state_dict(self) -> dict[str, Any]:
        means, stds = ([b[i] for b in self.baseline] for i in (0, 1))
        return {"updates": self.updates, "buffer": self.buffer.state_dict(), "means": means, "stds": stds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = int(state["updates"])
        self.buffer.load_state_dict(state["buffer"])
        both = zip(state["means"], state["stds"], strict=True)
        self.baseline = [(torch.as_tensor(m).cpu(), torch.as_tensor(s).cpu()) for m, s in both]


def _moments_of_groups(rollouts: Rollouts, context: Context) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (n - 1; 0 of one) of each group's rewards, over all ranks; NaN rewards left out."""
    groups, rewards = context.gather(rollouts.group), context.gather(rollouts.reward)
    scored = ~torch.isnan(rewards)
    groups, rewards = groups[scored], rewards[scored]
    of_group = group_moments(rewards, groups)
    distinct, index = torch.unique(groups, return_inverse=True)
    first = torch.zeros_like(distinct).scatter_(0, index, torch.arange(len(index), device=index.device))
    return of_group.mean[first].to(rewards.dtype).cpu(), of_group.std[first].to(rewards.dtype).cpu()
