"""Verifiable tasks: prompts and a reward function, as TRL expects them."""

import difflib
import inspect
import re
from collections.abc import Callable
from functools import partial

from ..parts import Part, parse_part
from .constraints import cosine_length_reward, dense_reward
from .countdown import countdown
from .episode import Answer, Environment, Episode
from .instructions import instructions
from .math import math_task
from .maze import maze
from .reasoning_gym import reasoning_gym_task
from .sums import sums
from .task import Demonstrations, Task
from .words import WORDS

__all__ = [
    "WORDS",
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


def load_task(name: str, *, train_size: int = 4096, eval_size: int = 256, seed: int = 0) -> Task:
    """The task that a command line names, with its knobs in brackets.

    ``countdown``, ``sums``, ``sums:<fewest digits>-<most>``, ``instructions``, ``instructions:sparse``, ``maze``,
    ``maze:tool``, ``words:<task>``, ``reasoning-gym:<task>`` or ``math:<file>``; knobs are the arguments of the
    function that makes the task, or the settings of reasoning-gym's data set:
    ``countdown(count=4)``, ``words:mention(count=2)``, ``reasoning-gym:chain_sum(min_terms=2, max_digits=1)``.

    Raises:
        ValueError: an unknown name, an unknown knob, or one out of range.
    """
    kind, _, rest = name.partition(":")
    if kind == "math" and rest:
        return math_task(rest)
    part = parse_part(name, name, what="task", form="task(knob=value), e.g. countdown(count=4)")
    kind, _, rest = part.name.partition(":")
    shared = {"train_size": train_size, "eval_size": eval_size, "seed": seed}
    made: Callable[..., Task] | None = None
    if kind == "countdown" and not rest:
        made = countdown
    elif kind == "sums" and (not rest or re.fullmatch(r"\d+-\d+", rest)):
        fewest, most = rest.split("-") if rest else ("2", "2")
        made = partial(sums, digits=(int(fewest), int(most)))
    elif kind == "instructions" and rest in ("", "sparse"):
        made = partial(instructions, dense=not rest)
    elif kind == "maze" and rest in ("", "tool"):
        made = partial(maze, tool=bool(rest))
    elif kind == "words" and rest in WORDS:
        made = WORDS[rest]
    elif kind == "reasoning-gym" and rest:
        made = partial(reasoning_gym_task, rest)
    if made is None:
        raise ValueError(
            f"unknown task {name!r}; valid are countdown, sums, sums:<fewest digits>-<most>, instructions, "
            f"instructions:sparse, maze, maze:tool, words:<{'|'.join(WORDS)}>, reasoning-gym:<task> and math:<file>"
        )
    return _with_knobs(name, made, part, shared)


def _with_knobs(name: str, made: Callable[..., Task], part: Part, shared: dict[str, int]) -> Task:
    """Calls it, with errors that name the knob."""
    taken = inspect.signature(made).parameters
    fixed = {*shared, *(made.keywords if isinstance(made, partial) else ())}
    free = [n for n, p in taken.items() if n not in fixed and p.kind is not p.VAR_KEYWORD]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    if part.values:
        raise ValueError(f"task {name!r}: write its knobs by name ({', '.join(free) or 'it has none'})")
    for knob in part.knobs:
        if knob in fixed or (knob not in free and not open_ended):
            near = difflib.get_close_matches(knob, free, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"task {name!r}: no knob {knob!r}{hint} Valid knobs: {', '.join(free) or 'none'}")
    try:
        return made(**shared, **part.knobs)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"task {name!r}: {error}") from error
