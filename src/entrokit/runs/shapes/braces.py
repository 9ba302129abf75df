"""A dict within a line, as Python or JSON write it.

transformers and TRL (printed behind a progress bar; newer ones print values as strings), ms-swift, rllm::

    {'loss': -0.01, 'entropy': 0.41, 'epoch': 0.3}

slime (slime/utils/tracking, ``rollout 3: {…}``, ``step 3: {…}``, ``perf 3: {…}``) and OpenRLHF
(openrlhf/trainer/ppo_trainer.py at 3c3be623, ``Global step 3: {…}``): the number before the brace is the step.
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .literal import NOT_CLOSED, NotLiteralError, flattened, read_dict
from .values import is_number

_OPENS = re.compile(r"\{\s*['\"]")
_STEP = re.compile(
    r"(?:^|[^\w/])(?:rollout|(?:\w+[ _])?step|perf|eval|train|iter|iteration|update)"
    r"[ =:#]{1,3}(\d{1,15})(?:, \w+)?\s*:\s*$",
    re.IGNORECASE,
)
# A line of a hostile file could open a brace with every other character.
_MOST_TRIED = 4


def braces(line: str, number: int = 1, left_out: list[str] | None = None) -> Row | None:
    """The row of the first dict in a line that holds mostly numbers; None where there is none.

    A dict of mostly texts (a config, a web server's record) is no row unless a step stands before it. Names of lists,
    which are no numbers, are added to ``left_out``.
    """
    if "{" not in line:
        return None
    for tried, opened in enumerate(_OPENS.finditer(line)):
        if tried == _MOST_TRIED:
            return None
        try:
            found, _ = read_dict(line, opened.start())
        except NotLiteralError:
            continue
        fields, lists = flattened(found)
        step = step_before(line, opened.start())
        if _mostly_numbers(fields) or (step is not None and any(map(is_number, fields.values()))):
            if left_out is not None:
                left_out += lists
            return Row(fields, number, step)
        return None
    return None


def step_before(line: str, brace: int) -> float | None:
    """The 3 of ``rollout 3: {``; None where no such words stand before the brace."""
    found = _STEP.search(line, max(0, brace - 60), brace)
    return float(found[1]) if found else None


def opened(line: str) -> int | None:
    """Where a dict begins that the line does not close; None where there is none."""
    if "{" not in line:
        return None
    if line.rstrip().endswith("{"):
        return len(line.rstrip()) - 1
    for tried, brace in enumerate(_OPENS.finditer(line)):
        if tried == _MOST_TRIED:
            return None
        try:
            read_dict(line, brace.start())
            return None
        except NotLiteralError as error:
            if str(error) == NOT_CLOSED:
                return brace.start()
    return None


def _mostly_numbers(fields: dict[str, Any]) -> bool:
    numbers = sum(map(is_number, fields.values()))
    return numbers > 0 and 2 * numbers >= len(fields)
