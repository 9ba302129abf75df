"""Countdown: reach a target with each given number used exactly once, over ``+``, ``-``, ``*`` and brackets.

The compact character form (one token a character) is small enough for the pocket policy:
prompt ``"3 7 2=20:"``, a right completion ``"(3+7)*2"``.
"""

from __future__ import annotations

import ast
import operator
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..knobs import check_range
from .task import Task, completion_text, tagged_answer

ALPHABET = "0123456789+-*() =:"

# The longest attempt that can be right is far shorter; the limit bounds the parser's work and its nesting depth.
_MAX_LENGTH = 64
_EXPRESSION = re.compile(r"[0-9+\-*() ]+", re.ASCII)
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


# How many prompts fall to each is about alike.
_FAMILIES = ((10, "target below 10"), (25, "target 10 to 24"), (10**9, "target from 25"))


@dataclass(frozen=True)
class Puzzle:
    """Numbers to use, each exactly once, and the target to reach."""

    numbers: tuple[int, ...]
    target: int

    @property
    def prompt(self) -> str:
        return f"{' '.join(map(str, self.numbers))}={self.target}:"


def evaluate(expression: str) -> tuple[int, list[int]] | None:
    """Value of an arithmetic expression and the numbers it uses, or ``None`` if it is not well formed.

    Only ASCII digits, ``+ - *`` between two operands and brackets are accepted. Nothing is ever executed: the text is
    parsed to a syntax tree of which a whitelist of nodes is walked, so names, calls, powers, unary signs, unicode
    digits and leading zeros are all refused, and text over 64 characters is refused unread.
    """
    text = expression.strip() if len(expression) <= _MAX_LENGTH else ""
    if not text or not _EXPRESSION.fullmatch(text):
        return None
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    used: list[int] = []
    value = _walk(tree.body, used)
    return None if value is None else (value, used)


def _walk(node: ast.expr, used: list[int]) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _walk(node.left, used), _walk(node.right, used)
        if left is not None and right is not None:
            return _OPERATORS[type(node.op)](left, right)
    return None


def verify(completion: str, numbers: Sequence[int], target: int) -> bool:
    """Whether ``completion`` is a well-formed expression that uses each of ``numbers`` once and equals ``target``."""
    result = evaluate(completion)
    return result is not None and result[0] == target and sorted(result[1]) == sorted(numbers)


def random_attempt(numbers: Sequence[int], rng: random.Random) -> str:
    """A random well-formed expression over a random order of ``numbers`` (right only by luck)."""
    parts = [str(n) for n in rng.sample(list(numbers), len(numbers))]
    while len(parts) > 1:
        i = rng.randrange(len(parts) - 1)
        joined = f"{parts[i]}{rng.choice('+-*')}{parts[i + 1]}"
        parts[i : i + 2] = [joined if len(parts) == 2 else f"({joined})"]
    return parts[0]


def solved_puzzle(rng: random.Random, count: int = 3, largest: int = 9, max_target: int = 99) -> tuple[Puzzle, str]:
    """A random puzzle with a target in ``[0, max_target]`` and one expression that solves it."""
    while True:
        numbers = tuple(rng.randint(1, largest) for _ in range(count))
        attempt = random_attempt(numbers, rng)
        result = evaluate(attempt)
        if result is not None and 0 <= result[0] <= max_target:
            return Puzzle(numbers, result[0]), attempt


@dataclass(frozen=True)
class CountdownDemonstrations:
    """Well-formed attempts, of which ``right`` (a share in [0, 1]) solve their puzzle and the rest are random."""

    alphabet: ClassVar[str] = ALPHABET
    numbers: int = 3
    largest: int = 9
    max_target: int = 99
    right: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "right", 0.0, 1.0)

    def sample(self, rng: random.Random) -> tuple[str, str]:
        puzzle, solution = solved_puzzle(rng, self.numbers, self.largest, self.max_target)
        if rng.random() >= self.right:
            solution = random_attempt(puzzle.numbers, rng)
        return puzzle.prompt, solution


def reward(completions: list[Any], numbers: list[list[int]], target: list[int], **kwargs: Any) -> list[float]:
    """TRL reward function: 1.0 for a right answer, 0.0 otherwise; ``<answer>…</answer>`` may stand around it."""
    return [
        float(verify(tagged_answer(completion_text(c)), n, t))
        for c, n, t in zip(completions, numbers, target, strict=True)
    ]


def in_words(row: Mapping[str, Any]) -> str:
    """A puzzle as one would put it to somebody."""
    *others, last = row["numbers"]
    return (
        f"Use each of the numbers {', '.join(map(str, others))} and {last} exactly once, with +, -, * and brackets, to "
        f"make {row['target']}. Answer with the expression alone."
    )


def _family(target: int) -> str:
    return next(name for limit, name in _FAMILIES if target < limit)


def countdown(
    train_size: int = 4096,
    eval_size: int = 256,
    seed: int = 0,
    count: int = 3,
    largest: int = 9,
    max_target: int = 99,
) -> Task:
    """Countdown as TRL expects a task: datasets with ``prompt``, ``numbers``, ``target``, ``family``; a reward.

    Every puzzle is solvable and none stands twice, so a training prompt is always new to the policy within an epoch.

    Raises:
        ValueError: a knob out of range (``count`` from 1 to 8, beyond which few random targets are small), or fewer
            distinct puzzles than asked for.
    """
    from datasets import Dataset

    for name, value, low, high in (
        ("count", count, 1, 8),
        ("largest", largest, 1, 99),
        ("max_target", max_target, 1, 9999),
    ):
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"countdown: {name} must be a whole number from {low} to {high}, got {value!r}")
    wanted = train_size + eval_size
    rng = random.Random(seed)
    puzzles: dict[Puzzle, None] = {}
    for _ in range(50 * wanted):
        if len(puzzles) == wanted:
            break
        puzzles[solved_puzzle(rng, count, largest, max_target)[0]] = None
    else:
        raise ValueError(
            f"countdown: found only {len(puzzles)} distinct puzzles of the {wanted} asked for "
            f"(train_size + eval_size); ask for fewer, or widen count={count}, largest={largest} or "
            f"max_target={max_target}"
        )
    rows = [
        {"prompt": p.prompt, "numbers": list(p.numbers), "target": p.target, "family": _family(p.target)}
        for p in puzzles
    ]
    return Task(
        name="countdown",
        train=Dataset.from_list(rows[:train_size]),
        evaluation=Dataset.from_list(rows[train_size:]),
        reward=reward,
        max_completion_length=4 * count + 4,
        demonstrations=CountdownDemonstrations(count, largest, max_target),
        in_words=in_words,
        answers=("tags",),
    )
