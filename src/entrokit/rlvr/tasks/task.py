"""What a task is: prompts in the form TRL expects, and a reward function with TRL's signature."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from .episode import Environment

if TYPE_CHECKING:
    from datasets import Dataset


class Demonstrations(Protocol):
    """Imperfect attempts at a task, from which a pocket policy learns its notation: a frozen dataclass of settings."""

    alphabet: ClassVar[str]

    def sample(self, rng: random.Random) -> tuple[str, str]:
        """A prompt and an attempt, in characters of ``alphabet``."""
        ...


@dataclass(frozen=True)
class Task:
    """A verifiable task.

    Attributes:
        name: how the task is called on the command line.
        train, evaluation: datasets with a ``prompt`` column (text or chat messages); every other column reaches the
            reward function as a keyword argument, one value per completion.
            A column ``family`` says what kind of prompt it is: runs are then looked at family by family too.
        reward: ``reward(prompts=..., completions=..., **columns) -> list[float | None]``, as TRL calls it.
        correct: name of the reward function where rewards are graded, and 1 or more is right; None where they are 1
            and 0.
        max_completion_length: tokens that a right completion needs at most, in this task's own notation.
        demonstrations: what a pocket policy is warmed up on; None for a task that it cannot play.
        environment: what answers the policy turn by turn; None where a completion is one turn. The reward function
            then receives ``solved`` (what each episode came to) as a column.
        in_words: a row's prompt for a model that reads language; None where ``prompt`` is that already, or where there
            is none.
        answers: forms in which the reward function finds an answer inside of more text: ``tags`` for
            ``<answer>…</answer>``, ``boxed`` for ``\\boxed{…}``.
    """

    name: str
    train: Dataset
    evaluation: Dataset
    reward: Callable[..., list[float | None]] | Callable[..., list[float]]
    max_completion_length: int
    demonstrations: Demonstrations | None = None
    environment: Environment | None = None
    correct: str | None = None
    in_words: Callable[[Mapping[str, Any]], str] | None = None
    answers: tuple[str, ...] = ()


def completion_text(completion: Any) -> str:
    """Text of a completion as TRL hands it over: a string, or a list of chat messages (the last one counts)."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, list) and completion and isinstance(completion[-1], dict):
        return str(completion[-1].get("content") or "")
    raise TypeError(
        f"completion: expected text or a list of chat messages, got {type(completion).__name__}; "
        "a reward function receives completions as TRL passes them"
    )


_OPEN, _CLOSE = "<answer>", "</answer>"


def tagged_answer(text: str) -> str:
    """What stands between the last ``</answer>`` and the ``<answer>`` before it; the whole text without such a pair.

    In time linear in the text, whatever tags it opens and does not close.
    """
    for closed in reversed(text.split(_CLOSE)[:-1]):
        _, opening, answer = closed.rpartition(_OPEN)
        if opening:
            return answer.strip()
    return text
