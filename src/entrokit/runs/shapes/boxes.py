"""tabulate's ``fancy_grid``, several names and numbers side by side in a row of it, as AReaL prints what it measured
(realhf/base/stats_tracker.py and areal/utils/stats_logger.py, ``tabulate_stats``)::

    ╒══════════════════════════╤════════════╤══════════════════════════╤════════════╕
    │ ppo_actor/task_reward/avg │ 8.0000e-01 │ ppo_actor/new_logp/avg   │ -2.83e-01  │
    ├──────────────────────────┼────────────┼──────────────────────────┼────────────┤

A line names the step: newer versions print it above (``Train step 3/200 done.``), older ones below, after every table
of the step (``(global step 3) finishes.``).
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .values import value_with_unit

_ABOVE = re.compile(r"\bTrain step (\d+)/\d+ done\b")
_BELOW = re.compile(r"\(global step (\d+)\) finishes\b")
_MOST_NAMES = 10_000


class Boxes:
    """Follows the lines of a console. Tables are a row once their step is named, or once one of them comes again."""

    def __init__(self) -> None:
        self._table: dict[str, Any] | None = None
        self._held: dict[str, Any] = {}
        self._began = 0
        self._above: float | None = None

    def concerns(self, line: str) -> bool:
        """Whether a line can belong to a table, or name the step of one: cheap, as it is asked of every line."""
        return "╒═" in line or self._table is not None or bool(self._held) or "Train step " in line

    def row(self, line: str, number: int) -> Row | None:
        """The row that a line completes; None where it completes none."""
        if "╒═" in line:
            self._table = {}
            self._began = self._began if self._held else number
        elif self._table is not None:
            return self._within(self._table, line)
        elif self._held and (below := _BELOW.search(line)):
            return self._given(float(below[1]))
        elif above := _ABOVE.search(line):
            left = self._given(None)
            self._above = float(above[1])
            return left
        return None

    def rest(self) -> Row | None:
        """The row of tables that nothing came after."""
        return self._given(None)

    def _within(self, table: dict[str, Any], line: str) -> Row | None:
        if "╘═" in line:
            self._table = None
            left = self._given(None) if not self._held.keys().isdisjoint(table) else None
            self._held.update(table)
            return left or (self._given(self._above) if self._above is not None else None)
        cells = [cell.strip() for cell in line.partition("│")[2].split("│")]
        for name, text in zip(cells[::2], cells[1::2], strict=False):
            value = value_with_unit(text) if name else None
            if isinstance(value, float) and len(table) < _MOST_NAMES:
                table[name] = value
        return None

    def _given(self, step: float | None) -> Row | None:
        fields, self._held = self._held, {}
        return Row(fields, self._began, step) if fields else None
