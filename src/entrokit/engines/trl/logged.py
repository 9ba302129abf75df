"""What the trainer logs of a generation batch, as plain numbers over all processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from entrokit.diagnose import pass_at_k
from entrokit.rlvr import Rollouts

from .processes import gathered, reduced


def generation_numbers(
    rollouts: Rollouts, families: list[str] | None, attempts: int, accelerator: Any
) -> dict[str, float]:
    """What is logged of a generation batch, by name, from this process's rows and ``attempts`` a prompt."""
    found: dict[str, float] = {}
    if rollouts.correct is not None:
        found |= coverage(gathered(accelerator, rollouts.correct), attempts)
    if families is not None:
        found |= family_rewards(gather_object(families), accelerator.gather(rollouts.reward).tolist())
    taken, entropy, tokens = reduced(accelerator, surprise(rollouts)).tolist()
    found |= {"sampled/surprise": taken / max(tokens, 1.0), "sampled/entropy": entropy / max(tokens, 1.0)}
    truncated = rollouts.truncated if rollouts.truncated is not None else torch.zeros(1)
    return found | {"truncated": accelerator.gather(truncated.float()).mean().item()}


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
