"""Fields between bars.

Megatron and ms-swift (Megatron-LM, megatron/training/training.py; swift/megatron)::

    [2026-03-03 16:01:36] iteration        7/     624 | consumed samples:  128 | reward: 7.6E-01 | grad norm: 75.1 |

prime-rl 0.8.0 (src/prime_rl/trainer/rl/train.py and orchestrator/orchestrator.py at 559b447; before, with colons)::

    Step 3 | 12.31s | Loss 0.0012 | Entropy 0.4123 | Mismatch KL 0.0011 | LR 1.00e-06 | Peak Mem. 61.2 GiB
    Evaluated aime (Step 3) | Policy v2 | 41.20s | Reward 0.3312 | Truncation 1.2%

and ``step: 3 | reward: 0.5 | loss=0.1`` of anybody's own print.
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .values import value_with_unit

# Longer than any name and its value; within it the patterns below may try every end of a name.
LONGEST_FIELD = 400

_ITERATION = re.compile(r"\biteration\s+(\d+)\s*/\s*\d+\s*$")
_STEP = re.compile(
    r"(?:^|[\s\[])(?<!micro )(?:(?:global|train|training)[ _])?(?:step|iter|iteration|update)[ ]*[:=#]?\s*(\d[\d,]*)"
    r"(?:\s*/\s*\d+)?[\]:)]?\s*$",
    re.IGNORECASE,
)
_EVALUATED = re.compile(r"\bEvaluated (\S+) \(Step (\d+)\)\s*$")
_NAMED = re.compile(r"([^\d\s:=][^:=]*?)\s*[:=]\s*(\S.*)")
_SPACED = re.compile(r"([A-Za-z][A-Za-z .,_/@-]*?)\s+([-+]?(?:\d|(?i:nan|inf)|\.\d).*)")


def colon_pipe(line: str, number: int = 1) -> Row | None:
    """The row of a line whose first fields hold a step; None where it is of another shape."""
    if "|" not in line:
        return None
    parts = line.split("|")
    step, prefix, first = None, "", 0
    for i, part in enumerate(parts[:3]):
        if evaluated := _EVALUATED.search(part):
            step, prefix, first = float(evaluated[2]), f"eval/{evaluated[1]}/", i + 1
        elif found := _ITERATION.search(part) or _STEP.search(part):
            step, first = float(found[1].replace(",", "")), i + 1
        if step is not None:
            break
    if step is None:
        return None
    fields: dict[str, Any] = {}
    for part in parts[first:]:
        if named := bar_field(part):
            fields[prefix + named[0]] = named[1]
    return Row(fields, number, step) if any(isinstance(v, float) for v in fields.values()) else None


def bar_field(part: str) -> tuple[str, Any] | None:
    """Name and value of what stands between two bars: ``reward: 0.5``, ``reward=0.5`` or ``Mismatch KL 0.001``."""
    part = part.strip()
    if len(part) > LONGEST_FIELD:
        return None
    named = _NAMED.fullmatch(part) if ":" in part or "=" in part else None
    if named:
        return named[1], value_with_unit(named[2])
    spaced = _SPACED.fullmatch(part)
    return (spaced[1], value_with_unit(spaced[2])) if spaced else None
