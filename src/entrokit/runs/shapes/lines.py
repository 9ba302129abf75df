"""One line of a console, whatever logger printed it."""

from __future__ import annotations

import re

from ..row import Row
from .braces import braces
from .colon_dash import colon_dash
from .colon_pipe import colon_pipe
from .equals import equals
from .iteration import iteration

PARSERS = (colon_dash, braces, colon_pipe, equals, iteration)
ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]{0,200}\x07)")
# step: 3, Iter 10, iteration  7/ 624, update=5: the ends of these words, and what stands behind them.
_ENDS = ("tep", "ter", "teration", "pdate", "pisode", "TEP", "TER")
_COUNTED = re.compile(r"[\s:=#]{0,12}\d")
_MOST_ENDS = 8


def parse_line(line: str, number: int = 1, left_out: list[str] | None = None) -> Row | None:
    """The row that a line holds, by the first parser that knows its shape; None where none does.

    A line of another program costs a few searches for substrings.

    Args:
        line: one line without its end; colour codes are left out. number: its number in the file.
        left_out: names of lists that a dict in the line holds are added here.
    """
    if "\x1b" in line:
        line = ANSI.sub("", line)
    if "step:" in line and (row := colon_dash(line, number)):
        return row
    if "{" in line and (row := braces(line, number, left_out)):
        return row
    if counts_steps(line):
        return colon_pipe(line, number) or equals(line, number) or iteration(line, number)
    if "it/s" in line or "s/it" in line:
        return equals(line, number)
    return None


def counts_steps(line: str) -> bool:
    """Whether a word for a step stands before a number, as it must in lines without a dict: a cheap test for many."""
    for end in _ENDS:
        at = line.find(end)
        for _ in range(_MOST_ENDS):
            if at < 0:
                break
            if _COUNTED.match(line, at + len(end)):
                return True
            at = line.find(end, at + len(end))
    return False


def plain(line: str) -> str:
    """A line without colour codes."""
    return ANSI.sub("", line) if "\x1b" in line else line
