"""Short questions with one right answer, which may stand in a sentence."""

from __future__ import annotations

import operator
import random
import re
from typing import Any

from ..task import Task, completion_text, tagged_answer
from .sentences import TOPICS

_OPERATIONS = {"plus": operator.add, "minus": operator.sub, "times": operator.mul}
# With thousands apart, and with what follows a point: parts of a longer number are none. The dash of 5-12 is no sign,
# and a point behind a word or another point ends a sentence.
_NUMBER = re.compile(
    r"(?:(?<![0-9])-)?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)"
)
_EVERY = frozenset(word for words in TOPICS.values() for word in words)


def last_number(completions: list[Any], number: list[int], **kwargs: Any) -> list[float]:
    """TRL reward function: 1.0 where the last number of the answer is ``number``, else 0.0.

    The answer is what stands in ``<answer>…</answer>``, or the whole completion where there is none.
    """
    scores = []
    for completion, right in zip(completions, number, strict=True):
        found = _NUMBER.findall(tagged_answer(completion_text(completion)))
        # Digits beyond what any answer has are not turned into numbers.
        scores.append(float(bool(found) and len(found[-1]) < 16 and float(found[-1].replace(",", "")) == right))
    return scores


def arithmetic(train_size: int = 4096, eval_size: int = 256, seed: int = 0, largest: int = 9) -> Task:
    """Sums, differences and products of two numbers up to ``largest`` (1 to 999), in words. Families: the operation.

    Raises:
        ValueError: ``largest`` out of range.
    """
    from datasets import Dataset

    if type(largest) is not int or not 1 <= largest <= 999:
        raise ValueError(f"words:arithmetic: largest must be a whole number from 1 to 999, got {largest!r}")
    rng, rows = random.Random(seed), []
    for _ in range(train_size + eval_size):
        name = rng.choice(list(_OPERATIONS))
        a, b = sorted((rng.randint(1, largest), rng.randint(1, largest)), reverse=True)
        rows.append({"prompt": f"What is {a} {name} {b}?", "number": _OPERATIONS[name](a, b), "family": name})
    return Task(
        name="words:arithmetic",
        train=Dataset.from_list(rows[:train_size]),
        evaluation=Dataset.from_list(rows[train_size:]),
        reward=last_number,
        max_completion_length=32,
        answers=("tags",),
    )


def in_order(completions: list[Any], words: list[list[str]], **kwargs: Any) -> list[float]:
    """TRL reward function: 1.0 where the answer names each of ``words`` once, in alphabetical order, else 0.0.

    An answer that names other words of this task too is wrong: all of them in order would be right for every prompt.
    """
    scores = []
    for completion, wanted in zip(completions, words, strict=True):
        said = re.findall(r"[a-z]+", tagged_answer(completion_text(completion)).lower())
        scores.append(float([word for word in said if word in wanted or word in _EVERY] == sorted(wanted)))
    return scores


def ordering(train_size: int = 4096, eval_size: int = 256, seed: int = 0, count: int = 2) -> Task:
    """So many words put into alphabetical order, 2 (easy) to 5. Families: whether they were in order as given.

    Raises:
        ValueError: ``count`` out of range.
    """
    from datasets import Dataset

    if type(count) is not int or not 2 <= count <= 5:
        raise ValueError(f"words:ordering: count must be a whole number from 2 to 5, got {count!r}")
    every = sorted(word for words in TOPICS.values() for word in words)
    rng, rows = random.Random(seed), []
    for _ in range(train_size + eval_size):
        words = rng.sample(every, count)
        text = f"Put these words in alphabetical order: {', '.join(words)}. Answer with the words alone."
        family = "in order" if words == sorted(words) else "out of order"
        rows.append({"prompt": text, "words": words, "family": family})
    return Task(
        name="words:ordering",
        train=Dataset.from_list(rows[:train_size]),
        evaluation=Dataset.from_list(rows[train_size:]),
        reward=in_order,
        max_completion_length=32,
        answers=("tags",),
    )
