"""Instructions with several checkable constraints, in the small: a string with so many of one letter, none of another.

One token a character: prompt ``"a2!b6:"`` asks for exactly two ``a``, no ``b``, and six characters: ``"acddca"``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..knobs import check_range
from .constraints import CharacterCount, Constraint, KeywordCount, LetterCount, cell_of, constraints_of, dense_reward
from .task import Task, completion_text

LETTERS = "abcd"
ALPHABET = LETTERS + "0123456789!:"
_LENGTHS = (4, 8)


@dataclass(frozen=True)
class Instruction:
    """``count`` times ``wanted``, no ``banned``, ``length`` characters."""

    wanted: str
    count: int
    banned: str
    length: int

    @property
    def prompt(self) -> str:
        return f"{self.wanted}{self.count}!{self.banned}{self.length}:"

    @property
    def constraints(self) -> list[Constraint]:
        return [
            KeywordCount(self.count, self.count, self.wanted),
            LetterCount(None, 0, self.banned),
            CharacterCount(self.length, self.length),
        ]

    def solution(self, rng: random.Random) -> str:
        """A random text that satisfies it."""
        others = [c for c in LETTERS if c not in (self.wanted, self.banned)]
        text = [self.wanted] * self.count + [rng.choice(others) for _ in range(self.length - self.count)]
        rng.shuffle(text)
        return "".join(text)


def in_words(row: Mapping[str, Any]) -> str:
    """An instruction as one would put it to somebody."""
    wanted, banned, length = row["constraints"]
    times = "once" if wanted["at_least"] == 1 else f"{wanted['at_least']} times"
    return (
        f"Write exactly {length['at_least']} letters and nothing else. The letter {wanted['keyword']} must occur "
        f"exactly {times}, and the letter {banned['letter']} must not occur."
    )


def random_instruction(rng: random.Random) -> Instruction:
    wanted, banned = rng.sample(LETTERS, 2)
    return Instruction(wanted, rng.randint(1, 3), banned, rng.randint(*_LENGTHS))


@dataclass(frozen=True)
class InstructionDemonstrations:
    """Attempts of which ``right`` (a share in [0, 1]) satisfy their instruction and the rest are random letters."""

    alphabet: ClassVar[str] = ALPHABET
    right: float = 0.4

    def __post_init__(self) -> None:
        check_range(self, "right", 0.0, 1.0)

    def sample(self, rng: random.Random) -> tuple[str, str]:
        asked = random_instruction(rng)
        if rng.random() < self.right:
            return asked.prompt, asked.solution(rng)
        return asked.prompt, "".join(rng.choice(LETTERS) for _ in range(rng.randint(*_LENGTHS)))


def reward(completions: list[Any], constraints: list[Sequence[Mapping[str, Any]]], **kwargs: Any) -> list[float]:
    """TRL reward function: `dense_reward`, at least 1.0 for a right answer and below 1.0 otherwise."""
    return [
        dense_reward(completion_text(c), constraints_of(row)) for c, row in zip(completions, constraints, strict=True)
    ]


def all_or_nothing(
    completions: list[Any], constraints: list[Sequence[Mapping[str, Any]]], **kwargs: Any
) -> list[float]:
    """TRL reward function: 1.0 if all constraints hold, else 0.0."""
    return [
        float(all(c.check(completion_text(text)) for c in constraints_of(row)))
        for text, row in zip(completions, constraints, strict=True)
    ]


def instructions(train_size: int = 4096, eval_size: int = 256, seed: int = 0, dense: bool = True) -> Task:
    """Instructions as TRL expects a task: datasets with ``prompt`` and ``constraints``, and a reward function.

    Args:
        dense: False rewards only answers that satisfy every constraint. Prompts repeat: there are few.
    """
    from datasets import Dataset

    rng = random.Random(seed)
    rows = []
    for _ in range(train_size + eval_size):
        asked = random_instruction(rng)
        rows.append({"prompt": asked.prompt, "constraints": cell_of(asked.constraints)})
    return Task(
        name="instructions" if dense else "instructions:sparse",
        train=Dataset.from_list(rows[:train_size]),
        evaluation=Dataset.from_list(rows[train_size:]),
        reward=reward if dense else all_or_nothing,
        max_completion_length=_LENGTHS[1] + 2,
        demonstrations=InstructionDemonstrations(),
        in_words=in_words,
        correct=reward.__name__ if dense else None,
    )
