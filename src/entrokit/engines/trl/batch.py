"""TRL's generation batch as `Rollouts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import Context, PolicyStats, Rollouts


@dataclass(frozen=True)
class GenerationBatch:
    """What `EntropyGRPOTrainer` tells its listener after each generation batch (this process's rows).

    Attributes:
        step: optimiser steps taken so far. evaluation: whether it was generated to evaluate.
        prompts: one a row, as they stand in the dataset. completions: their texts.
        families: the kinds of prompt that the dataset's column ``family`` names; None without one.
    """

    step: int
    evaluation: bool
    rollouts: Rollouts
    advantages: Tensor
    prompts: list[Any]
    completions: list[str]
    families: list[str] | None = None


@dataclass(frozen=True)
class Distinct:
    """The distinct prompts of a batch, so that each is read once.

    Attributes:
        ids, mask: ``[D, P]``. which: ``[B]``, where each row of the batch lies among them.

    ``D`` is alike on all ranks, by repetition: sharded models hang where ranks make different numbers of forwards.
    """

    ids: Tensor
    mask: Tensor
    which: Tensor

    @classmethod
    def of(cls, ids: Tensor, mask: Tensor, context: Context) -> Distinct:
        """From left-padded ``ids`` and ``mask``, each ``[B, P]``."""
        both, which = torch.unique(torch.cat([ids, mask], 1), dim=0, return_inverse=True)
        most = int(context.gather(torch.tensor([len(both)], device=ids.device)).max())
        both = both[torch.arange(most, device=ids.device) % len(both)]
        distinct, attention = both.split(ids.shape[1], dim=1)
        return cls(distinct, attention, which)

    def to_rows(self, x: Tensor) -> Tensor:
        """A tensor ``[D, ...]`` of the distinct prompts as one of the batch's rows, ``[B, ...]``."""
        return x[self.which]


def predicted(mask: Tensor) -> Tensor:
    """The real tokens with a real token before them, ``[B, P - 1]`` bool, from a left-padded mask ``[B, P]``."""
    real = mask.bool()
    return real[:, 1:] & real[:, :-1]


def rollouts_of(
    output: Mapping[str, Any],
    behaviour: PolicyStats,
    reward: Tensor,
    *,
    rewards: Tensor | None = None,
    correct: Tensor | None = None,
    prompt_logp: Tensor | None = None,
    tool_calls: Sequence[int] | None = None,
    first_row: int,
    per_prompt: int,
    eos_token_ids: Sequence[int],
) -> Rollouts:
    """The rows of one process.

    Args:
        output: what TRL's `_generate_and_score_completions` returns.
        behaviour: statistics of its completions ``[B, T]``. reward: ``[B]``. rewards: ``[B, K]``.
        correct: ``[B]`` bool.
        prompt_logp: of its prompts' tokens but the first, ``[B, P - 1]``.
        tool_calls: of each completion, where whoever played it counted them.
        first_row: index of this process's first row among those of all processes.
        per_prompt: completions of each prompt, which stand next to one another.
    """
    tokens, attention = output["completion_ids"], output["completion_mask"].bool()
    ends = torch.isin(tokens, torch.tensor(list(eos_token_ids), device=tokens.device)) & attention
    # Every turn of an episode may end with such a token: the last one counts.
    last = torch.nn.functional.pad(attention, (0, 1))[:, 1:] < attention
    weight = output.get("importance_sampling_ratio")
    return Rollouts(
        tokens=tokens,
        real=attention,
        trained=attention & output["tool_mask"].bool() if "tool_mask" in output else attention,
        group=(first_row + torch.arange(len(tokens), device=tokens.device)) // per_prompt,
        reward=reward,
        behaviour=behaviour.masked(attention),
        rewards=rewards,
        correct=correct,
        truncated=~(ends & last).any(1),
        tool_calls=None if tool_calls is None else torch.tensor(tool_calls, device=tokens.device),
        reference_logp=output.get("ref_per_token_logps"),
        prompt_logp=prompt_logp,
        prompt_mask=None if prompt_logp is None else predicted(output["prompt_mask"]),
        sampler_weight=None if weight is None else weight.expand(tokens.shape),
    )
