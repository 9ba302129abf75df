"""The console of a run: rows among everything else that a program prints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import isclose
from pathlib import Path
from typing import TypeGuard

from ..row import Row
from ..training_log import Notes
from . import braces, colon_dash
from .blocks import Blocks
from .boxes import Boxes
from .fold import Fold, fold_of, unfolded
from .lines import parse_line, plain
from .ruled import RuledTables
from .text import HEAD, ends_half, text_lines

# A dict printed over several lines goes on with these; anything else ends it.
_GOES_ON = re.compile(r"\s*(?:['\"}\])]|[-+\w.]+\s*,?\s*$)")
_MOST_OF_A_DICT = 2000
_LARGEST_DICT = 1 << 18
# Four digits, as a console rounds.
_ROUNDED = 1e-3


def console_rows(file: Path, notes: Notes) -> Iterator[Row]:
    """The rows of a console log, in order, whatever engine printed it; lines of other shapes are passed over.

    Lines that a terminal broke are joined; what a progress bar overwrote (carriage returns) is read piece by piece; a
    last field that was cut off is left out, and noted. Streams: memory does not grow with the file.
    """
    fold = fold_of(_first_lines(file))
    lines: Iterable[tuple[int, str]] = text_lines(file, notes)
    if fold and fold.joined:
        notes.add(f"lines were broken at {fold.width} characters and are read as one", file.name)
        lines = unfolded(lines, fold.width)
    yield from _without_echo(_without_cut(_rows(lines, file, notes), fold, file, notes))


def _rows(lines: Iterable[tuple[int, str]], file: Path, notes: Notes) -> Iterator[tuple[Row | None, str]]:
    """Rows and the piece of a line that each was read from; None for the last piece of a file that holds no row."""
    lists: list[str] = []
    blocks, boxes, ruled, opened, number, line = Blocks(), Boxes(), RuledTables(), _OpenDict(), 0, ""
    for number, line in lines:
        for piece in line.split("\r") if "\r" in line else (line,):
            row = opened.row(piece, number) if opened.lines else None
            yield from opened.given_up()
            if row is None and not opened.lines:
                row = parse_line(piece, number, lists)
                if row is None and "{" in piece:
                    opened.begin(piece, number)
                for name in lists:
                    notes.add(f"{name[:80]!r} holds a list, not a number, and is left out", f"{file.name}:{number}")
                lists.clear()
            if blocks.concerns(piece):
                row = blocks.row(plain(piece), number) or row
            if boxes.concerns(piece):
                row = boxes.row(plain(piece), number) or row
            if ruled.concerns(piece):
                row = ruled.row(piece, number) or row
            if row is not None:
                if row.step is not None:
                    blocks.step = row.step
                yield row, piece
    opened.give_up()
    yield from opened.given_up()
    if left := boxes.rest():
        yield left, ""
    if number and line:
        yield None, line


class _OpenDict:
    """A dict that goes on in the lines below, as ``pprint`` and ``json.dumps(…, indent=2)`` print it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._numbers: list[int] = []
        self._size = 0
        self._left: list[tuple[int, str]] = []

    def begin(self, line: str, number: int) -> None:
        if braces.opened(plain(line)) is not None:
            self.lines, self._numbers, self._size = [plain(line)], [number], len(line)

    def row(self, line: str, number: int) -> Row | None:
        line = plain(line)
        self._size += len(line)
        if len(self.lines) >= _MOST_OF_A_DICT or self._size > _LARGEST_DICT or not _GOES_ON.match(line):
            self.give_up()
            return None
        self.lines.append(line)
        self._numbers.append(number)
        if "}" not in line:
            return None
        whole = " ".join(self.lines)
        if braces.opened(whole) is not None:
            return None
        self.lines = []
        return braces.braces(whole, self._numbers[0])

    def give_up(self) -> None:
        """It is no dict after all: its lines count each for itself."""
        self._left += list(zip(self._numbers, self.lines, strict=True))[1:] if self.lines else []
        self.lines = []

    def given_up(self) -> Iterator[tuple[Row, str]]:
        """The rows of the lines of what turned out to be no dict, each once."""
        for number, line in self._left:
            if row := parse_line(line, number):
                yield row, line
        self._left.clear()


def _without_cut(found: Iterable[tuple[Row | None, str]], fold: Fold | None, file: Path, notes: Notes) -> Iterator[Row]:
    """Rows without last fields that were cut off: at a terminal's width, or where the file ends within a line."""
    cut_at = fold.width if fold and not fold.joined else None
    held: tuple[Row, str] | None = None
    usual: str | None = None
    for row, line in found:
        if row is None:
            if held and held[1] is line and ends_half(file):
                held = _shortened(*held, usual, file, notes), line
            break
        if held:
            yield held[0]
            if "step:" in held[1]:
                usual = colon_dash.last_field(held[1])
        if cut_at is not None and len(line) == cut_at and colon_dash.begins(line) is not None:
            notes.add(f"lines are cut off at {cut_at} characters; the last field of each is left out", file.name)
            row = _without(row, colon_dash.last_field(line))
        held = row, line
    if held and held[0].fields:
        yield held[0]


def _without_echo(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows without those that the next one repeats and adds to: LLaMA-Factory prints some of what transformers prints,
    rounded, just before it. Where no step is written, each would count as one.
    """
    held: Row | None = None
    for row in rows:
        if held is not None and not _repeated(held, row):
            yield held
        held = row
    if held is not None:
        yield held


def _repeated(row: Row, later: Row) -> bool:
    if row.step is not None or later.step is not None or not row.fields.keys() < later.fields.keys():
        return False
    pairs = [(value, later.fields[name]) for name, value in row.fields.items()]
    return all(a == b or (_is_float(a) and _is_float(b) and isclose(a, b, rel_tol=_ROUNDED)) for a, b in pairs)


def _is_float(value: object) -> TypeGuard[float]:
    return isinstance(value, float)


def _shortened(row: Row, line: str, usual: str | None, file: Path, notes: Notes) -> Row:
    """The last row of a file that ends within it, without its last field unless rows always end with that one."""
    name = colon_dash.last_field(line) if colon_dash.begins(line) is not None else None
    if name is None or name == usual or usual is None:
        return row
    notes.add("the last line ends half-way; its last field is left out", f"{file.name}:{row.number}")
    return _without(row, name)


def _without(row: Row, name: str | None) -> Row:
    return Row({k: v for k, v in row.fields.items() if k != name}, row.number, row.step, row.run)


def _first_lines(file: Path) -> list[str]:
    """The whole lines of a file's beginning, at most `HEAD` characters."""
    lines: list[str] = []
    size = 0
    for _, line in text_lines(file, Notes()):
        size += len(line) + 1
        if size > HEAD:
            break
        if "\r" not in line:
            lines.append(line)
    return lines
