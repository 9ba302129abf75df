"""Worked sums: a thinking phase, a closing marker, an answer. For methods that treat the two phases differently.

One token a character: prompt ``"47+38="``, a right completion ``"7+8=15~~4+3=7|85"``: the digits added column by column
from the right, with idle ``~`` wherever the policy dawdles, the marker ``|``, and the sum. Only what follows the first
marker is judged, so thinking may be as short as the policy dares.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..knobs import check_range
from .task import Task, completion_text

MARKER = "|"
IDLE = "~"
ALPHABET = "0123456789+=" + IDLE + MARKER


def prompt_of(a: int, b: int) -> str:
    return f"{a}+{b}="


def worked(a: int, b: int, rng: random.Random, idle: float, slip: float) -> str:
    """An attempt: every step is followed by ``~`` with probability ``idle`` (again and again, six at most), and each
    digit of a column's sum and of the answer is replaced by a random one with probability ``slip``.
    """
    steps = []
    for left, right in zip(str(a)[::-1], str(b)[::-1], strict=True):
        pause = 0
        while pause < 6 and rng.random() < idle:
            pause += 1
        steps.append(f"{left}+{right}={_slipped(int(left) + int(right), rng, slip)}" + IDLE * pause)
    return "".join(steps) + MARKER + _slipped(a + b, rng, slip)


def _slipped(number: int, rng: random.Random, slip: float) -> str:
    return "".join(rng.choice("0123456789") if rng.random() < slip else digit for digit in str(number))


def verify(completion: str, total: int) -> bool:
    """Whether what follows the first marker is ``total``, written plainly."""
    _, marker, answer = completion.partition(MARKER)
    return bool(marker) and answer == str(total)


def reward(completions: list[Any], total: list[int], **kwargs: Any) -> list[float]:
    """TRL reward function: 1.0 for a right answer, 0.0 otherwise."""
    return [float(verify(completion_text(c), t)) for c, t in zip(completions, total, strict=True)]


@dataclass(frozen=True)
class SumsDemonstrations:
    """Attempts at sums of numbers of ``digits[0]`` to ``digits[1]`` digits; ``idle`` and ``slip`` are `worked`'s."""

    alphabet: ClassVar[str] = ALPHABET
    digits: tuple[int, int] = (2, 2)
    idle: float = 0.7
    slip: float = 0.15

    def __post_init__(self) -> None:
        check_range(self, "idle", 0.0, 1.0)
        check_range(self, "slip", 0.0, 1.0)
        if not 1 <= self.digits[0] <= self.digits[1]:
            raise ValueError(f"SumsDemonstrations: digits must be (fewest, most) from 1 on, got {self.digits}")

    def sample(self, rng: random.Random) -> tuple[str, str]:
        a, b = pair(rng, *self.digits)
        return prompt_of(a, b), worked(a, b, rng, self.idle, self.slip)


def in_words(row: Mapping[str, Any]) -> str:
    """A sum as one would put it to somebody."""
    a, b = row["prompt"].rstrip("=").split("+")
    return f"What is {a} plus {b}? Work it out, then write {MARKER}, right after it the number, and stop."


def pair(rng: random.Random, fewest: int, most: int) -> tuple[int, int]:
    """Two random numbers of the same number of digits, none with a leading zero."""
    digits = rng.randint(fewest, most)
    low = 10 ** (digits - 1)
    return rng.randrange(low, 10 * low), rng.randrange(low, 10 * low)


def sums(train_size: int = 4096, eval_size: int = 256, seed: int = 0, digits: tuple[int, int] = (2, 2)) -> Task:
    """Worked sums as TRL expects a task: datasets with ``prompt``, ``total``, ``digits``, ``family``; a reward.

    Raises:
        ValueError: fewer distinct sums than asked for.
    """
    from datasets import Dataset

    demonstrations = SumsDemonstrations(digits)
    wanted, rng = train_size + eval_size, random.Random(seed)
    found: dict[tuple[int, int], None] = {}
    for _ in range(50 * wanted):
        if len(found) == wanted:
            break
        found[pair(rng, *digits)] = None
    else:
        raise ValueError(
            f"sums: found only {len(found)} distinct sums of the {wanted} asked for (train_size + eval_size); ask for "
            f"fewer, or widen digits={digits}"
        )
    rows = [
        {"prompt": prompt_of(a, b), "total": a + b, "digits": len(str(a)), "family": f"{len(str(a))} digits"}
        for a, b in found
    ]
    return Task(
        name="sums",
        train=Dataset.from_list(rows[:train_size]),
        evaluation=Dataset.from_list(rows[train_size:]),
        reward=reward,
        max_completion_length=12 * digits[1] + 2 + digits[1],
        demonstrations=demonstrations,
        in_words=in_words,
    )
