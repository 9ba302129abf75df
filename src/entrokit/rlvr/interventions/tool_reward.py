"""A small, fading reward for calling tools, so that early exploration spreads over skills.

Learn the Ropes, Then Trust the Wins: Self-imitation with Progressive Exploration for Agentic RL (SPEAR, arXiv
2509.22601). With n messages of the assistant that call a tool, at update t:

    R = R_outcome + μ(t) R_tool,    R_tool = min(1, 0.1 n),    μ(t) = (1 + cos(π t / T_decay)) / 2, then 0

``rule="any-if-right"`` is the official code's second reward: a right completion gets μ(t) for at least one call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..card import Card
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts
from ..turns import answered_turns

__all__ = ["ToolReward"]

MODES = ("cosine", "constant", "none")
RULES = ("count", "any-if-right")


def cosine_decay(t: float, total: float) -> float:
    """μ(t): from 1 at 0 down to 0 at ``total`` and after."""
    return 0.5 * (1.0 + math.cos(math.pi * t / total)) if t <= total else 0.0


def tool_call_reward(
    n_calls: Tensor, t: float, decay: float = 200, *, per_call: float = 0.1, cap: float = 1.0, mode: str = "cosine"
) -> Tensor:
    """``μ(t) min(cap, per_call n)`` of ``n_calls [B]``, as float ``[B]``.

    Args:
        t: update, from 1 on. decay: T_decay. mode: how μ goes, one of `MODES`.
    """
    mu = {"cosine": cosine_decay(t, decay), "constant": 1.0, "none": 0.0}
    if mode not in mu:
        raise ValueError(f"tool_call_reward: mode must be one of {list(MODES)}, got {mode!r}")
    return mu[mode] * (per_call * n_calls.float()).clamp(max=cap)


@dataclass
class ToolReward(Intervention):
    """SPEAR's tool reward. Knobs: `per_call`, `cap`, `decay` (T_decay, in generation batches), `mode`, `rule`.

    Calls are `Rollouts.tool_calls`, or the turns that something answered.
    """

    name: ClassVar[str] = "tool-reward"
    card: ClassVar[Card] = Card(
        "2509.22601",
        examples=("dr_grpo+tool-reward",),
        not_ranked="nothing on the benches calls a tool; on the maze it does",
    )
    per_call: float = 0.1
    cap: float = 1.0
    decay: int = 200
    mode: str = "cosine"
    rule: str = "count"
    updates: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        check_range(self, "per_call", 0.0)
        check_range(self, "cap", 0.0)
        check_range(self, "decay", 1)
        check_choice(self, "mode", MODES)
        check_choice(self, "rule", RULES)

    @property
    def separable(self) -> bool:
        return True

    def reward(self, rollouts: Rollouts, rewards: Tensor, context: Context) -> Tensor:
        calls = tool_calls(rollouts)
        given = {"per_call": self.per_call, "cap": self.cap}
        extra = tool_call_reward(calls, self.updates + 1, self.decay, mode=self.mode, **given)
        if self.rule == "any-if-right":
            once = tool_call_reward((calls > 0).float(), self.updates + 1, self.decay, per_call=1.0, mode=self.mode)
            extra = torch.where(rollouts.require_correct(self.name), once, extra)
        return rewards + extra

    def remember(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> None:
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = int(state["updates"])


def tool_calls(rollouts: Rollouts) -> Tensor:
    """Calls of tools in each completion, ``[B]`` int64."""
    return answered_turns(rollouts) if rollouts.tool_calls is None else rollouts.tool_calls
