"""Verifiable tasks: prompts and a reward function, as TRL expects them."""

from .countdown import countdown
from .math import math_task
from .reasoning_gym import reasoning_gym_task
from .task import Task

__all__ = ["Task", "countdown", "load_task", "math_task", "reasoning_gym_task"]


def load_task(name: str, *, train_size: int = 4096, seed: int = 0) -> Task:
    """The task that a command line names: ``countdown``, ``reasoning-gym:<task>`` or ``math:<file>``.

    Raises:
        ValueError: an unknown name.
    """
    kind, _, rest = name.partition(":")
    if kind == "countdown" and not rest:
        return countdown(train_size=train_size, seed=seed)
    if kind == "reasoning-gym" and rest:
        return reasoning_gym_task(rest, train_size=train_size, seed=seed)
    if kind == "math" and rest:
        return math_task(rest)
    raise ValueError(f"unknown task {name!r}; valid are countdown, reasoning-gym:<task> and math:<file>")
