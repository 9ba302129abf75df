"""Tables as text: CSV, tabs, semicolons, bars (Markdown, a notebook's table), what pandas prints.

step,reward,entropy            Step | Training Loss | reward          step;reward;entropy
0,0.12,0.61                    -- | -- | --                           0;0,3071;0,4822
                               1 | -0.000000 | -8.039610
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, dropwhile, islice
from pathlib import Path
from typing import Any

from ..row import Row
from ..training_log import Notes
from .cells import cell_value, uses_decimal_comma
from .grid import Grid, table_of
from .text import HEAD, text_lines
from .trackers import columns_of_panel, long_columns, pivoted, run_column, tensorboard_tag

_SAMPLE = 200
_STEP = re.compile(r"_?step|global_?step|trainer/global_step|train/global_step", re.IGNORECASE)

_Line = tuple[int, list[str], list[str]]


def table_rows(file: Path, notes: Notes) -> Iterator[Row]:
    """The rows of a table, names as its header has them. Streams.

    An empty cell is no field; a cell that is no number is kept as text. Several runs in one table (a panel of W&B, a
    column ``run`` or ``seed``) are told by `Row.run`; long tables (step, name, value) are turned into rows of names.
    Nothing, and a note, where the file holds no table.
    """
    found = table_of(first_lines(file))
    if found is None:
        notes.add("it holds no table: no header above rows of as many cells", file.name)
        return
    delimiter, begins = found
    text = dropwhile(lambda numbered: numbered[0] < begins, text_lines(file, notes))
    lines = Grid(delimiter, file.name, notes).rows(text)
    sample = list(islice(lines, _SAMPLE))
    comma = uses_decimal_comma((cell for _, _, cells in sample[:50] for cell in cells), delimiter)
    yield from _rows(chain(sample, lines), sample, comma, file)


def first_lines(file: Path) -> list[str]:
    """The lines of a file's first `HEAD` characters, at least two where there are two."""
    lines: list[str] = []
    size = 0
    for _, line in text_lines(file, Notes()):
        lines.append(line)
        size += len(line)
        if size > HEAD and len(lines) > 1:
            break
    return lines


def _rows(lines: Iterable[_Line], sample: Sequence[_Line], comma: bool, file: Path) -> Iterator[Row]:
    header: list[str] = []
    of_table: _OfTable | None = None
    waiting: list[Row] = []
    for number, names, cells in lines:
        if of_table is None or names is not header:
            header = names
            of_table = _OfTable(names, [c for _, n, c in sample if n == names], file)
        fields: dict[str, Any] = {}
        for name, cell in zip(names, cells, strict=False):
            if cell and (value := cell_value(cell, comma)) is not None:
                fields[name] = value
        for row in of_table.rows(fields, number):
            if waiting and not of_table.is_long:
                yield from waiting
                waiting = []
            if not of_table.is_long:
                yield row
                continue
            # A long table has a line for each metric; those of one step and run that stand together are one row.
            if waiting and (waiting[0].step, waiting[0].run) == (row.step, row.run) and row.step is not None:
                waiting = [pivoted(waiting[0], row)]
            else:
                yield from waiting
                waiting = [row]
    yield from waiting


class _OfTable:
    """How the rows of one table are to be read, by its header and first rows."""

    def __init__(self, names: Sequence[str], cells: Sequence[Sequence[str]], file: Path) -> None:
        self._panel = columns_of_panel(names)
        self._long = None if self._panel else long_columns(names)
        self._run = None if self._panel else run_column(names, cells)
        self._tag = tensorboard_tag(file.name) if [n.lower() for n in names] == ["wall time", "step", "value"] else None
        self._first = names[0]
        self.is_long = self._long is not None

    def rows(self, fields: dict[str, Any], number: int) -> Iterator[Row]:
        if self._panel:
            yield from self._of_panel(fields, number)
        elif self._long:
            step, name, value = (fields.get(column) for column in self._long)
            if name is not None and value is not None:
                shared = {self._long[0]: step} if step is not None else {}
                at = step if isinstance(step, float) else None
                yield Row({**shared, str(name): value}, number, at, self._run_of(fields))
        elif self._tag:
            run, tag = self._tag
            yield Row({tag if n.lower() == "value" else n: v for n, v in fields.items()}, number, None, run)
        elif fields:
            yield Row(fields, number, None, self._run_of(fields))

    def _run_of(self, fields: dict[str, Any]) -> str | None:
        value = fields.get(self._run) if self._run else None
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return None if value is None else str(value)

    def _of_panel(self, fields: dict[str, Any], number: int) -> Iterator[Row]:
        by_run: dict[str, dict[str, Any]] = {}
        for column, (run, metric) in (self._panel or {}).items():
            if column in fields:
                by_run.setdefault(run, {})[metric] = fields[column]
        step = fields.get(self._first)
        for run, found in by_run.items():
            shared = {self._first: step} if step is not None else {}
            at = step if isinstance(step, float) and _STEP.fullmatch(self._first) else None
            yield Row({**shared, **found}, number, at, run)
