"""Verifiable tasks: prompts and a reward function, as TRL expects them."""

import re

from .constraints import cosine_length_reward, dense_reward
from .countdown import countdown
from .episode import Answer, Environment, Episode
from .instructions import instructions
from .math import math_task
from .maze import maze
from .reasoning_gym import reasoning_gym_task
from .sums import sums
from .task import Demonstrations, Task

__all__ = [
    "Answer",
    "Demonstrations",
    "Environment",
    "Episode",
    "Task",
    "cosine_length_reward",
    "countdown",
    "dense_reward",
    "instructions",
    "load_task",
    "math_task",
    "maze",
    "reasoning_gym_task",
    "sums",
]


def load_task(name: str, *, train_size: int = 4096, seed: int = 0) -> Task:
    """The task that a command line names.

    ``countdown``, ``sums``, ``sums:<fewest digits>-<most>``, ``instructions``, ``instructions:sparse``, ``maze``,
    ``maze:tool``, ``reasoning-gym:<task>`` or ``math:<file>``.

    Raises:
        ValueError: an unknown name.
    """
    kind, _, rest = name.partition(":")
    if kind == "countdown" and not rest:
        return countdown(train_size=train_size, seed=seed)
    if kind == "sums" and (not rest or re.fullmatch(r"\d+-\d+", rest)):
        fewest, most = rest.split("-") if rest else (2, 2)
        return sums(train_size=train_size, seed=seed, digits=(int(fewest), int(most)))
    if kind == "instructions" and rest in ("", "sparse"):
        return instructions(train_size=train_size, seed=seed, dense=not rest)
    if kind == "maze" and rest in ("", "tool"):
        return maze(train_size=train_size, seed=seed, tool=bool(rest))
    if kind == "reasoning-gym" and rest:
        return reasoning_gym_task(rest, train_size=train_size, seed=seed)
    if kind == "math" and rest:
        return math_task(rest)
    raise ValueError(
        f"unknown task {name!r}; valid are countdown, sums, sums:<fewest digits>-<most>, instructions, "
        "instructions:sparse, maze, maze:tool, reasoning-gym:<task> and math:<file>"
    )
