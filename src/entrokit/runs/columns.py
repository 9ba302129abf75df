"""Rows of a log put into columns, in memory that grows with the columns that are wanted and not with the others."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .row import Row
from .training_log import Notes

# A log of training has hundreds of names; a file that makes a new one of every line has none that mean anything.
MOST_COLUMNS = 200_000
# Names in the layouts of rows that are remembered: rows of ever new names must not fill the memory.
_MOST_PLACES = 1_000_000
_NUMBERS = frozenset((float,))

# In a row of transformers' evaluation, as TRL and Unsloth print it, lengths and the like are of what was evaluated.
_OF_AN_EVALUATION = "eval_runtime"
_KEPT_THEN = ("eval", "step", "epoch", "global_step", "train/global_step")

Reader = Callable[[Any], float | None]


@dataclass
class RawColumn:
    """One name of a log.

    Attributes:
        read: makes a number of a value, or None; itself None where nothing but a count is kept.
        rows, values: of every number in it, the index of its row and the number.
        points: how many numbers. texts: how many values that are no numbers. text: the first of them, and its line.
    """

    read: Reader | None
    rows: array[int] = field(default_factory=lambda: array("L"))
    values: array[float] = field(default_factory=lambda: array("d"))
    points: int = 0
    texts: int = 0
    text: tuple[str, int] | None = None


@dataclass
class _Layout:
    """The columns of rows that hold the same names, as most rows of a log do.

    Attributes:
        columns: by place; None for one that is left out. kept: place and column, where numbers are kept. counted: the
            other columns. rows: how many rows of nothing but numbers there were, which ``counted`` are yet to get.
    """

    columns: list[RawColumn | None]
    kept: list[tuple[int, RawColumn]]
    counted: list[RawColumn]
    rows: int = 0

    @classmethod
    def of(cls, columns: list[RawColumn | None]) -> _Layout:
        there = [(place, column) for place, column in enumerate(columns) if column is not None]
        return cls(
            columns,
            [(place, column) for place, column in there if column.read is not None],
            [column for _, column in there if column.read is None],
        )

    def numbers(self, values: tuple[Any, ...], row: int) -> None:
        """Adds a row of floats: it costs what its kept columns cost, however many others it has."""
        self.rows += 1
        for place, column in self.kept:
            column.points += 1
            column.rows.append(row)
            column.values.append(values[place])


@dataclass
class Columns:
    """All columns of one stream of rows, in the order in which they came.

    Attributes:
        steps: of every row, where its shape says it; NaN otherwise. lines: of every row. runs: of every row, an index
            into ``run_names``.
    """

    steps: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("L"))
    runs: array[int] = field(default_factory=lambda: array("L"))
    run_names: list[str | None] = field(default_factory=list)
    by_name: dict[str, RawColumn] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.steps)


def columns_of(rows: Iterable[Row], reader_of: Callable[[str], Reader | None], notes: Notes, where: str) -> Columns:
    """Puts rows into columns.

    Args:
        reader_of: what makes numbers of a name's values (`number_of`, `step_number`); None where only their count is
            wanted. where: file, for the notes.
    """
    found = Columns()
    run_index: dict[str | None, int] = {}
    layouts: dict[tuple[str, ...], _Layout] = {}
    places = 0
    for i, row in enumerate(rows):
        found.steps.append(math.nan if row.step is None else row.step)
        found.lines.append(row.number)
        if row.run not in run_index:
            run_index[row.run] = len(run_index)
            found.run_names.append(row.run)
        found.runs.append(run_index[row.run])
        fields = _of_training(row.fields) if _OF_AN_EVALUATION in row.fields else row.fields
        names, values = tuple(fields), tuple(fields.values())
        layout = layouts.get(names)
        if layout is None:
            if places > _MOST_PLACES:
                _settle(layouts)
                places = 0
            places += len(names)
            where_now = f"{where}:{row.number}"
            layout = _Layout.of([_column(found.by_name, name, reader_of, notes, where_now) for name in names])
            layouts[names] = layout
        if _NUMBERS.issuperset(map(type, values)):
            layout.numbers(values, i)
            continue
        for column, value in zip(layout.columns, values, strict=True):
            if column is not None:
                _add(column, value, i, row.number)
    _settle(layouts)
    return found


def _settle(layouts: dict[tuple[str, ...], _Layout]) -> None:
    for layout in layouts.values():
        for column in layout.counted:
            column.points += layout.rows
    layouts.clear()


def _column(
    by_name: dict[str, RawColumn], name: str, reader_of: Callable[[str], Reader | None], notes: Notes, where: str
) -> RawColumn | None:
    column = by_name.get(name)
    if column is None:
        if len(by_name) >= MOST_COLUMNS:
            notes.add(f"more than {MOST_COLUMNS} names of metrics: the rest is left out", where)
            return None
        column = by_name[name] = RawColumn(reader_of(name))
    return column


def _of_training(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name.startswith(_KEPT_THEN)}


def _add(column: RawColumn, value: Any, row: int, line: int) -> None:
    number = value if type(value) is float else (column.read or number_of)(value)
    if number is None:
        if value is not None and value != "" and not isinstance(value, (list, dict)):
            column.texts += 1
            column.text = column.text or (str(value)[:80], line)
        return
    column.points += 1
    if column.read is not None:
        column.rows.append(row)
        column.values.append(number)


def number_of(value: Any) -> float | None:
    """A value as a number, if it is one: ``true`` and ``false`` and texts that hold one included."""
    if value is None or isinstance(value, (list, dict, tuple)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def step_number(value: Any) -> float | None:
    """A step as a number; of ``7/200`` the first part."""
    if isinstance(value, str) and "/" in value:
        value = value.partition("/")[0]
    number = number_of(value)
    return number if number is not None and math.isfinite(number) else None
