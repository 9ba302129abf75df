"""Lines as rows of cells: what parts the cells, which row is the header, where one table ends and the next begins."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..training_log import Notes
from .cells import either_value
from .text import LONGEST_LINE

# | --- | :-: |, +-----+-----+, ┏━━━┳━━━┓ and the like.
_RULE = re.compile(r"[\s|:+\-=─━═┄┏┓┗┛┣┫┳┻╋┡┩╇┌┐└┘├┤┬┴┼╒╕╘╛╞╡╪╤╧╭╮╰╯╔╗╚╝╠╣╬╦╩┃│║]+")
_BARS = str.maketrans("│┃║", "|||")
_GAP = re.compile(r"\t|\s{2,}")
DELIMITERS = ("\t", ";", ",", "|")
GAPS = "spaces"
WORDS = "a space"
_LATEST_HEADER = 40
_ONE_NAME = re.compile(r'"?[A-Za-z][\w/@.-]{1,80}"?')


def table_of(lines: Sequence[str]) -> tuple[str, int] | None:
    """What parts a table's cells, and the number of its header's line, from 1; None where the lines hold none.

    Cells are parted by a tab, semicolon, comma or bar, by two spaces and more (`GAPS`), or by one (`WORDS`, if all but
    the header is numbers): by what the header and at least half of the rows below hold equally often, the header first,
    as a semicolon's table may be full of decimal commas. Half of these rows hold a number; lines of a log fall into
    equally many pieces too. Words may stand before it (a post around a pasted table) if most of the rest is the table.
    """
    shown = _shown(lines)
    for i, (number, _) in enumerate(shown[:_LATEST_HEADER]):
        below = [line for _, line in shown[i:]]
        delimiter = _delimiter(below[:40]) if i == 0 or len(below) > 2 else None
        if delimiter is not None and (i == 0 or _delimiter(below) == delimiter):
            return delimiter, number
    return None


def _shown(lines: Sequence[str]) -> list[tuple[int, str]]:
    numbered = ((number, line.translate(_BARS)) for number, line in enumerate(lines, 1))
    kept = [(n, line) for n, line in numbered if line.strip() and not line.lstrip().startswith("#")]
    return [(n, line) for n, line in kept[:400] if not is_rule(line)]


def _delimiter(shown: Sequence[str]) -> str | None:
    if len(shown) < 2:
        return None
    best, most = None, 0.0
    for delimiter in (*DELIMITERS, GAPS, WORDS):
        header, *rows = [cells_of(line, delimiter) for line in shown]
        fitting = [cells for cells in rows if 0 <= len(cells) - len(header) <= (delimiter == GAPS)]
        agree = sum(map(_holds_numbers if delimiter == WORDS else _holds_number, fitting)) / len(rows)
        if agree >= 0.5 and agree > most + 0.2 and _is_header(header):
            best, most = delimiter, agree
    return best or ("," if _is_one_column(shown) else None)


def _is_one_column(shown: Sequence[str]) -> bool:
    """Whether it is one name above nothing but numbers."""
    name, *rows = ([line] for line in shown)
    return _is_one_name(name) and all(map(_holds_number, rows))


def _is_one_name(cells: Sequence[str]) -> bool:
    return len(cells) == 1 and _ONE_NAME.fullmatch(cells[0].strip()) is not None


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line; quoted ones may hold the delimiter."""
    if delimiter == GAPS:
        return _GAP.split(line.strip())
    if delimiter == WORDS:
        return line.split()
    if delimiter == "|":
        return [cell.strip() for cell in line.strip().strip("|").split("|")]
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return line.split(delimiter)


def is_rule(line: str) -> bool:
    """Whether a line only draws one."""
    return len(line) > 1 and _RULE.fullmatch(line) is not None and bool(line.strip("| \t"))


class Grid:
    """Numbered rows of a table, or of several tables one below the other, each under its own header."""

    def __init__(self, delimiter: str, name: str, notes: Notes) -> None:
        self._delimiter, self._name, self._notes = delimiter, name, notes

    def rows(self, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str], list[str]]]:
        """Number, header and cells of each row."""
        header: list[str] | None = None
        gap = False
        for number, cells in self._cells(lines):
            if not any(cells):
                gap = True
                continue
            if header is None or self._begins_again(cells, header, gap):
                if _is_header(cells) or (header is None and _is_one_name(cells)):
                    header = self._names(cells, number)
                elif header is None:
                    self._notes.add("a row stands before any header and is left out", f"{self._name}, row {number}")
                gap = False
                continue
            gap = False
            if len(cells) == 1 and len(header) > 1 and not _holds_number(cells):
                self._notes.add("a line that is no row is left out", f"{self._name}, row {number}")
                continue
            yield number, header, self._fitted(cells, header, number)

    def _cells(self, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
        counted = _Counted(lines, bars=self._delimiter == "|")
        if self._delimiter in (GAPS, WORDS, "|"):
            for line in counted:
                yield counted.number, cells_of(line, self._delimiter)
            return
        csv.field_size_limit(LONGEST_LINE)
        reader = csv.reader((f"{line}\n" for line in counted), delimiter=self._delimiter, skipinitialspace=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._notes.add(f"a row cannot be read: {error}", f"{self._name}, row {counted.number}")
                continue
            yield counted.number, cells

    def _names(self, cells: Sequence[str], number: int) -> list[str]:
        names = [cell.strip().strip("\"'").strip() for cell in cells]
        # pandas' word for the index that it writes without a name.
        names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
        twice = [name for name, n in Counter(names).items() if n > 1]
        for name in twice:
            self._notes.add(f"two columns are called {name[:80]!r}; the last one counts", f"{self._name}, row {number}")
        return names

    def _fitted(self, cells: list[str], header: list[str], number: int) -> list[str]:
        if len(cells) == len(header) + 1 and self._delimiter == GAPS:
            return cells[1:]  # pandas prints its index without a name
        # A comma behind the last cell is nobody's mistake.
        if len(cells) != len(header) and any(cells[len(header) :]) | (len(cells) < len(header)):
            what = f"a row has {len(cells)} cells under {len(header)} columns"
            self._notes.add(what, f"{self._name}, row {number}")
        return cells

    def _begins_again(self, cells: Sequence[str], header: Sequence[str], gap: bool) -> bool:
        if not _is_header(cells):
            return False
        known = set(header)
        return gap or 2 * sum(cell.strip() in known for cell in cells) >= len(cells)


class _Counted:
    """Lines without comments and rules, and the number of the last one given."""

    def __init__(self, lines: Iterable[tuple[int, str]], bars: bool) -> None:
        self._lines, self._bars, self.number = lines, bars, 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.number = number
            if self._bars:
                line = line.translate(_BARS)
            if not line.lstrip().startswith("#") and not (line[:1] in "|+-: ┏┡└╭╰=" and is_rule(line)):
                yield line


def _holds_numbers(cells: Sequence[str]) -> bool:
    return all(isinstance(either_value(cell), float) for cell in cells)


def _holds_number(cells: Sequence[str]) -> bool:
    return any(isinstance(either_value(cell), float) for cell in cells)


def _is_header(cells: Sequence[str]) -> bool:
    """Whether cells can be names: at least two, hardly one empty, none a number."""
    filled = [cell for cell in cells if cell.strip()]
    if len(filled) < 2 or len(filled) < len(cells) / 2:
        return False
    return not cells[0].lstrip().startswith(("{", "[")) and all(isinstance(either_value(cell), str) for cell in filled)
