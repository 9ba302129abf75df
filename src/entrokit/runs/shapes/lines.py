"""One line of a console, whatever logger printed it."""

from __future__ import annotations

import re

from ..row import Row
from .braces import braces
from .colon_dash import colon_dash
from .colon_pipe import colon_pipe
from .equals import equals
from .iteration import iteration

# Each looks for its own mark by a plain substring first, so that a line of another program costs next to nothing.
PARSERS = (colon_dash, braces, colon_pipe, equals, iteration)
ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]{0,200}\x07)")


def parse_line(line: str, number: int = 1) -> Row | None:
    """The row that a line holds, by the first parser that knows its shape; None where none does.

    Args:
        line: one line without its end; colour codes are left out. number: its number in the file.
    """
    if "\x1b" in line:
        line = ANSI.sub("", line)
    for parser in PARSERS:
        row = parser(line, number)
        if row is not None:
            return row
    return None


def plain(line: str) -> str:
    """A line without colour codes."""
    return ANSI.sub("", line) if "\x1b" in line else line
