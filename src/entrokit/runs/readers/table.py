"""A plain table: CSV (or semicolons, or tabs) with a header, the least that a run can be diagnosed from.

step,reward,entropy
0,0.12,0.61
"""

from __future__ import annotations

import csv
from pathlib import Path

from ..names import canonical
from ..reader import RunReadError
from ..series import Series
from ..training_log import Notes
from .lines import LONGEST_LINE, number_of, text_lines
from .metrics import SeriesBuilder, step_of_row


def read_table(file: Path, notes: Notes) -> dict[str, Series]:
    """Series of a table's columns, by entrokit's names; without a step column rows are counted.

    Raises:
        RunReadError: no header, or none of its columns is known.
    """
    lines = (line for _, line in text_lines(file, notes) if line.strip())
    header = next(lines, None)
    if header is None:
        raise RunReadError(f"{file} is empty: expected a header such as step,reward,entropy")
    delimiter = max(",;\t", key=header.count)
    csv.field_size_limit(LONGEST_LINE)
    try:
        names = [n.strip() for n in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error as error:
        raise RunReadError(f"{file}: its header cannot be read ({error})") from error
    builder = SeriesBuilder()
    try:
        for i, cells in enumerate(csv.reader(lines, delimiter=delimiter)):
            row = dict(zip(names, cells, strict=False))
            if len(cells) != len(names):
                notes.add(f"a row has {len(cells)} cells under {len(names)} columns", f"{file.name}, row {i + 1}")
            bad = [n for n, cell in row.items() if canonical(n) and cell.strip() and number_of(cell) is None]
            if bad:
                notes.add(f"column {_shown(bad[0])} holds something that is no number", f"{file.name}, row {i + 1}")
            step = step_of_row(row)
            builder.add(float(i) if step is None else step, row)
    except csv.Error as error:
        notes.add(f"the table ends early: {error}", file.name)
    series = builder.series()
    if not series:
        raise RunReadError(
            f"{file}: none of its columns {_shown(', '.join(names))} is known; expected at least step,reward,entropy"
        )
    return series


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
