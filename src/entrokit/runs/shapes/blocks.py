"""What loggers print of a step on several lines, as bullets, panels and tables.

NeMo-RL (nemo_rl/algorithms/grpo.py at 7ea279a): a heading, then bullets::

    ========================= Step 3/100 =========================
    📊 Training Results:
      • Avg Reward: 0.4123

open-instruct (open_instruct/model_utils.py ``print_rich_single_line_metrics`` at e6c3044): a panel, a line a prefix,
broken at spaces where it is too long::

    ╭──────────── Metrics ────────────╮
    │  policy  entropy_avg: 0.52 | clipfrac_avg: 0.00 │
    ╰─────────────────────────────────╯

tinker-cookbook (tinker_cookbook/utils/ml_log.py): a table of two columns under ``Step 3``. prime-rl
(src/prime_rl/orchestrator/orchestrator.py at 559b447): ``╰─ math | Ratio 50.0% | Reward 0.41`` under a step's line.
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .colon_pipe import bar_field
from .values import value_with_unit

_HEADING = re.compile(r"={5,}\s*Step (\d+)(?:/\d+)?\s*={5,}")
_TITLE = re.compile(r"\s*Step (\d+)\s*")
_BULLET = re.compile(r"\s*•\s+([^:]{1,200}):\s+(.{1,200})")
_PAIR = re.compile(r"\s*│\s*([^│]{1,300}?)\s*│\s*([^│]{1,200}?)\s*│\s*")
_BRANCH = re.compile(r"\s*╰─ (\S+)\s*\|(.*)")
_PANEL = re.compile(r"\s*╭─+ Metrics ─+╮\s*")
_IN_PANEL = re.compile(r"\s*│ (.*) │\s*")
_MOST_IN_PANEL = 1000
_WIDEST = 2000


class Blocks:
    """Follows the lines of a console; `row` gives what a line of a block adds.

    Attributes:
        step: the step that the last heading or row named.
    """

    def __init__(self) -> None:
        self.step: float | None = None
        self._prefix = ""
        self._panel: list[str] | None = None
        self._began = 0

    def concerns(self, line: str) -> bool:
        """Whether a line can belong to a block: cheap, as it is asked of every line."""
        return (not line.isascii() or " Step " in line or self._panel is not None) and len(line) < _WIDEST

    def row(self, line: str, number: int) -> Row | None:
        """The row that a line of a block holds or completes; None where it holds none."""
        if self._panel is not None:
            return self._in_panel(line, number)
        if heading := _HEADING.search(line) or _TITLE.fullmatch(line):
            self.step, self._prefix = float(heading[1]), ""
        elif "Validation Results:" in line:
            self._prefix = "validation/"
        elif "Training Results:" in line:
            self._prefix = ""
        elif _PANEL.fullmatch(line):
            self._panel, self._began = [], number
        elif self.step is not None:
            return self._of_step(line, number)
        return None

    def _of_step(self, line: str, number: int) -> Row | None:
        if branch := _BRANCH.search(line):
            found = [bar_field(part) for part in branch[2].split("|")]
            fields = {f"{f[0]}/{branch[1]}": f[1] for f in found if f}
            return Row(fields, number, self.step) if fields else None
        if pair := _BULLET.fullmatch(line) or _PAIR.fullmatch(line):
            value = value_with_unit(pair[2])
            return Row({self._prefix + pair[1]: value}, number, self.step) if isinstance(value, float) else None
        return None

    def _in_panel(self, line: str, number: int) -> Row | None:
        inside = _IN_PANEL.fullmatch(line)
        if inside and self._panel is not None and len(self._panel) < _MOST_IN_PANEL:
            self._panel.append(inside[1])
            return None
        lines, self._panel = self._panel or [], None
        fields = _panel_fields(lines)
        return Row(fields, self._began) if fields else None


def _panel_fields(lines: list[str]) -> dict[str, Any]:
    """``prefix/name`` to value. A line that begins behind the first column goes on with the one above."""
    rows: list[list[str]] = []
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    for line in lines:
        words = line[margin:]
        if words[:1] not in ("", " "):
            category, _, rest = words.partition(" ")
            rows.append([category, rest.strip()])
        elif rows and words.strip():
            rows[-1][1] += f" {words.strip()}"
    fields: dict[str, Any] = {}
    for category, text in rows:
        for part in text.split(" | "):
            found = bar_field(part.strip(" |"))
            if found:
                fields[found[0] if category == "other" else f"{category}/{found[0]}"] = found[1]
    return fields
