"""Lines that a terminal broke at its width, and lines that were cut off there.

A copy out of a terminal (or `screen`, or an issue's text box) has no long lines: verl's one line of a step is three
lines of which the first two have the very same length, and a number may be cut in two. ``…mean:0`` is then no zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..row import Row
from . import braces, colon_dash
from .lines import parse_line

NARROWEST = 40
# A step's line of 1 MiB on a narrow terminal; a file of equal lines is not gathered into memory.
_MOST_PIECES = 1 << 14
_LEAST_JOINED = 2
_LEAST_CUT = 3

_NEW = re.compile(
    r"\s*\(\w[\w.]* pid=\d|\s*\[?\d{4}-\d\d-\d\d|\s*(?:INFO|WARNING|ERROR|DEBUG)\b|.*\biteration\s+\d+\s*/\s*\d"
)


@dataclass(frozen=True)
class Fold:
    """How a file's lines were broken.

    Attributes:
        width: characters of a full line. joined: what was broken goes on in the next line (else it is lost).
    """

    width: int
    joined: bool


def fold_of(lines: Sequence[str]) -> Fold | None:
    """How the first lines of a file were broken; None for lines as their program wrote them.

    A file counts as broken at its longest line's length where at least two lines of metrics have that length and
    say more, and nothing less, together with the line below; as cut where at least three lines of metrics have that
    length, and one of them stops within a name.
    """
    width = max(map(len, lines), default=0)
    if width < NARROWEST:
        return None
    joined = sum(better(pieces, width) is not None for _, pieces in _gathered(enumerate(lines), width))
    if joined >= _LEAST_JOINED:
        return Fold(width, True)
    full = [line for line in lines if len(line) == width and colon_dash.begins(line) is not None]
    if len(full) >= _LEAST_CUT and any(colon_dash.last_field(line) is None for line in full):
        return Fold(width, False)
    return None


def unfolded(lines: Iterable[tuple[int, str]], width: int) -> Iterator[tuple[int, str]]:
    """The lines as they were before a terminal broke them at ``width``, under the number of their first piece."""
    for number, pieces in _gathered(lines, width):
        whole = better(pieces, width) if len(pieces) > 1 else None
        if whole is not None:
            yield number, whole
        else:
            yield from enumerate(pieces, number)


def better(pieces: Sequence[str], width: int) -> str | None:
    """The pieces as one line, if they say more than the first alone and change nothing but what was broken."""
    if len(pieces) < 2:
        return None
    whole = _joined(pieces, width)
    alone, together = parse_line(pieces[0]), parse_line(whole)
    if together is None:
        return None
    if alone is None:
        return whole
    if alone.step != together.step:
        return None
    *kept, last = alone.fields
    same = all(_same(alone.fields[name], together.fields.get(name)) for name in kept)
    texts = sum(isinstance(v, str) for v in together.fields.values())
    texts_alone = sum(isinstance(alone.fields[name], str) for name in kept)
    more = len(together.fields) > len(alone.fields) or _goes_on(alone, together, last)
    return whole if same and more and texts <= texts_alone else None


def _goes_on(alone: Row, together: Row, last: str) -> bool:
    """Whether the one field that was broken has become another number or another name."""
    if len(together.fields) != len(alone.fields):
        return False
    value = together.fields.get(last)
    return isinstance(value, float) and not _same(value, alone.fields[last]) if last in together.fields else True


def _same(a: object, b: object) -> bool:
    return a == b or (a != a and b != b)


def _gathered(lines: Iterable[tuple[int, str]], width: int) -> Iterator[tuple[int, list[str]]]:
    """Every line with those that may continue it; a line that cannot be continued stands alone."""
    start, pieces, dict_open = 0, list[str](), False
    for number, line in lines:
        if pieces and _is_full(pieces[-1], line, width) and len(pieces) < _MOST_PIECES and _continues(line, dict_open):
            pieces.append(line)
            continue
        if pieces:
            yield start, pieces
        start, pieces = number, [line]
        dict_open = len(line) >= width - 1 and braces.opened(line) is not None
        if not (len(line) >= width - 1 and (dict_open or colon_dash.begins(line) is not None or _is_bars(line))):
            yield start, pieces
            pieces = []
    if pieces:
        yield start, pieces


def _continues(line: str, dict_open: bool) -> bool:
    return bool(line) and colon_dash.begins(line) is None and not _NEW.match(line) and (dict_open or "{'" not in line)


def _is_bars(line: str) -> bool:
    return " | " in line and ("tep" in line or "teration" in line)


def _is_full(piece: str, following: str, width: int) -> bool:
    """Whether a piece fills its line: terminals leave the space out that a line would end or begin with."""
    return len(piece) == width or (len(piece) == width - 1 and (piece.endswith(" -") or following.startswith("- ")))


def _joined(pieces: Sequence[str], width: int) -> str:
    whole = []
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        spaced = len(piece) == width - 1 and (piece.endswith(" -") or following.startswith("- "))
        whole.append(f"{piece} " if spaced and following else piece)
    return "".join(whole)
