"""What a task of many turns is: an environment that answers, turn by turn, and says at the end who won."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """What an environment says to a turn.

    Attributes:
        text: what the policy reads next; it is never trained on. over: whether the episode ends here.
        tool: whether the turn called a tool.
    """

    text: str
    over: bool = False
    tool: bool = False


class Episode(Protocol):
    """One episode. Made from a prompt, so that equal prompts are equal problems (a group of GRPO).

    Attributes:
        solved: whether the policy has won so far.
    """

    solved: bool

    def step(self, turn: str) -> Answer:
        """The answer to what the policy said in a turn."""
        ...


@dataclass(frozen=True)
class Environment:
    """How episodes of a task go.

    Attributes:
        start: an episode from a prompt. turn_ends: characters that end a turn of the policy.
        longest_turn: tokens after which a turn ends anyway.
    """

    start: Callable[[str], Episode]
    turn_ends: str
    longest_turn: int
