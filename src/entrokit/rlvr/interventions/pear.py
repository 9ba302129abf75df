"""PEAR: a right answer is worth less, the more its thinking was uncertain beyond its answer.

PEAR: Phase Entropy Aware Reward for Efficient Reasoning (arXiv 2510.08026). With the mean token entropies H_think
before the closing marker and H_ans after it (the marker itself in neither, an empty phase 0):

    r = min(1, s - max(0, H_think - α H_ans)) if the answer is right, else r_fmt

Without a marker the last token stands for it. The paper says that r lies in [0, 1]; by the formula a right answer can
score below a wrong one. ``floor`` is our option against that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_range
from ..rollouts import Rollouts

__all__ = ["Pear", "pear_reward", "phase_entropy"]


def marker_start(response_ids: Tensor, mask: Tensor, marker: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where ``marker`` first stands among a row's tokens, ``[B]`` int64 (0 if nowhere), and whether it does.

    Args:
        response_ids: ``[B, T]``. mask: ``[B, T]`` bool, real tokens. marker: one or more token ids.
    """
    rows, length = response_ids.shape
    # At least one column: there is no first of none.
    found = torch.zeros(rows, max(length, 1), dtype=torch.bool, device=response_ids.device)
    last = length - len(marker) + 1
    if last > 0:
        found[:, :last] = True
        for offset, token in enumerate(marker):
            there = slice(offset, offset + last)
            found[:, :last] &= (response_ids[:, there] == token) & mask[:, there]
    return found.int().argmax(1), found.any(1)


def phase_entropy(
    token_entropy: Tensor, mask: Tensor, response_ids: Tensor, end_think_id: int | Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean entropy before and after the first closing marker, each ``[B]`` (nats, detached), and whether it is there.

    Args:
        token_entropy: ``[B, T]``. mask: ``[B, T]`` bool, the completion's tokens. response_ids: ``[B, T]``.
        end_think_id: the marker's token, or its tokens.
    """
    marker = [end_think_id] if isinstance(end_think_id, int) else list(end_think_id)
    start, has = marker_start(response_ids, mask, marker)
    place = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    final = torch.nn.functional.pad(torch.where(mask, place, -1), (1, 0), value=-1).amax(1)
    begin = torch.where(has, start, final)[:, None]
    end = torch.where(has, start + len(marker), final + 1)[:, None]
    return (
        _mean(token_entropy, mask & (place < begin)),
        _mean(token_entropy, mask & (place >= end)),
        has,
    )


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, x.detach(), 0.0).sum(1) / mask.sum(1).clamp(min=1)


def pear_reward(
    h_think: Tensor,
    h_answer: Tensor,
    correct: Tensor,
    alpha: float = 1.0,
    score: float = 1.0,
    format_score: float = 0.0,
    floor: float | None = None,
) -> Tensor:
    """PEAR's reward ``[B]``, detached. Tensors are ``[B]``; ``floor`` bounds the reward of right answers from below."""
    penalty = (h_think - alpha * h_answer).clamp(min=0.0)
    right = (score - penalty).clamp(min=floor, max=1.0).detach()
    return torch.where(correct, right, format_score)


@dataclass
class Pear(Intervention):
    """PEAR's reward instead of the task's. Knobs: `alpha` (α), `score` (s), `format_score` (r_fmt), `floor`,
    `end_of_thinking` (the closing marker, as text).
    """

    name: ClassVar[str] = "pear"
    card: ClassVar[Card] = Card(
        "2510.08026",
        examples=("grpo+pear(alpha=0.5, end_of_thinking='=')",),
        benches=OnBenches(fixed="end_of_thinking='='", impossible_on={"tabular": "a completion has no two phases"}),
    )
    replaces: ClassVar[str | None] = "reward"
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    alpha: float = 1.0
    score: float = 1.0
    format_score: float = 0.0
    floor: float | None = None
    end_of_thinking: str = "</think>"
    marker: tuple[int, ...] | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        check_range(self, "alpha", -float("inf"))
        check_range(self, "score", -float("inf"))
        check_range(self, "format_score", -float("inf"))
        check_range(self, "floor", -float("inf"), optional=True)
        if not isinstance(self.end_of_thinking, str) or not self.end_of_thinking:
            raise ValueError(f"pear: end_of_thinking must be some text, got {self.end_of_thinking!r}")

    @property
    def separable(self) -> bool:
        return True

    def bind(self, encode: Callable[[str], Sequence[int]]) -> None:
        self.marker = tuple(encode(self.end_of_thinking))
        if not self.marker:
            raise ValueError(f"pear: the tokenizer gives no token for end_of_thinking={self.end_of_thinking!r}")

    def reward(self, rollouts: Rollouts, rewards: Tensor, context: Context) -> Tensor:
        if self.marker is None:
            raise ValueError(
                "pear: the closing marker has no token ids yet; call Recipe.bind with a tokenizer's encode"
            )
        entropy = rollouts.behaviour.require("entropy", self.name)
        think, answer, _ = phase_entropy(entropy, rollouts.trained, rollouts.tokens, self.marker)
        right = rollouts.require_correct(self.name)
        shaped = pear_reward(think, answer, right, self.alpha, self.score, self.format_score, self.floor)
        return torch.where(torch.isnan(rewards), rewards, shaped.to(rewards.dtype))
