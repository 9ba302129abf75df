"""Tables of two columns between rules, as Stable-Baselines3's logger prints one a rollout (``verbose=1``)::

-----------------------------
| rollout/           |      |
|    ep_rew_mean     | 21.7 |
| time/              |      |
|    total_timesteps | 2048 |
-----------------------------
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .values import value_with_unit

_RULE = re.compile(r"-{9,}\s*")
_PAIR = re.compile(r"\|(\s+)([^|]{1,200}?)\s*\|\s*([^|]{0,100}?)\s*\|\s*")
_MOST = 1000


class RuledTables:
    """Follows the lines of a console; `row` gives a table where its last rule closes it."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] | None = None
        self._group = ""
        self._began = 0

    def concerns(self, line: str) -> bool:
        """Whether a line can belong to a table: cheap, as it is asked of every line."""
        return line.startswith(("---", "| "))

    def row(self, line: str, number: int) -> Row | None:
        """The row that a rule completes; None for every other line."""
        if _RULE.fullmatch(line):
            fields, began = self._fields, self._began
            self._fields, self._group, self._began = {}, "", number
            return Row(fields, began + 1) if fields else None
        pair = _PAIR.fullmatch(line)
        if pair is None or self._fields is None or len(self._fields) >= _MOST:
            self._fields = None
        elif not pair[3] and pair[2].endswith("/"):
            self._group = pair[2]
        elif isinstance(value := value_with_unit(pair[3]), float):
            self._fields[f"{self._group if len(pair[1]) > 1 else ''}{pair[2]}"] = value
        return None
