"""What the trainer logs of a generation batch, as plain numbers over all processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from entrokit.diagnose import pass_at_k
from entrokit.rlvr import Rollouts


def coverage(correct: Tensor, attempts: int) -> dict[str, float]:
    """pass@1, 4, 16 and ``attempts`` of a batch, from who was right ``[B]`` of all processes, prompt by prompt."""
    counts = correct.int().view(-1, attempts).sum(1).tolist()
    return {f"pass@{k}": pass_at_k(counts, attempts, k) for k in sorted({1, 4, 16, attempts}) if k <= attempts}


def family_rewards(families: Sequence[str], rewards: Sequence[float]) -> dict[str, float]:
    """Mean reward of each family of prompts as ``reward/<family>``, from one entry a completion; NaN left out."""
    by_family: dict[str, list[float]] = {}
    for family, reward in zip(families, rewards, strict=True):
        if reward == reward:
            by_family.setdefault(family, []).append(reward)
    return {f"reward/{family}": sum(own) / len(own) for family, own in sorted(by_family.items())}


def surprise(rollouts: Rollouts) -> Tensor:
    """Sums over this process's trained tokens of the sampling policy's ``-log π``, entropy and 1: ``[3]``.

    Tokens drawn from the very policy that the statistics are of have equal means of both, up to chance: a difference
    says that something else sampled (another temperature, a truncated vocabulary, stale or rounded weights).
    """
    behaviour, train = rollouts.behaviour, rollouts.trained
    entropy = behaviour.require("entropy", "logging")
    return torch.stack([-(behaviour.logp * train).sum(), (entropy * train).sum(), train.sum().float()])
