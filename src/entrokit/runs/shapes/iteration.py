"""Lines that begin with a step and go on with names and values.

mlx-lm (mlx_lm/tuner/trainer.py)::

    Iter 10: Train loss 2.134, Learning Rate 1.000e-05, It/sec 0.512, Peak mem 4.512 GB

torchtitan (torchtitan/components/metrics.py and experiments/rl/observability/metrics/console.py at b5bcd76)::

    [titan] step: 10  loss:  8.21345  grad_norm:  1.3021  memory:  1.02GiB(1.08%)  tps: 1,024  mfu: 12.3%
    Train | Step:  5  loss/mean: 0.42  reward/_mean: 1.25

and ``step 3: loss 0.5, reward 0.1`` or ``[step 3] loss: 0.5, reward: 0.1`` of anybody's own print.
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .colon_pipe import LONGEST_FIELD
from .values import value_with_unit

_HEAD = re.compile(
    r"(?:^|[\s\[(|,:])(?<!micro )"
    r"((?:(?:global|train|training|validate|validation|eval)[ _])?(?:step|iter|iteration|update|episode))"
    r"\s*[:=#]?\s*(\d[\d,]*)(?:\s*/\s*\d+)?(?=[\s\]:,)|]|$)",
    re.IGNORECASE,
)
_CUT = re.compile(r",\s+|;\s+|\s\|\s|(?<![:=\s])\s{2,}| - ")
_NAMED = re.compile(r"([^\d\s:=][^:=]*?)\s*[:=]\s*(\S.*)")
_SPACED = re.compile(r"([A-Za-z][^\d:=]*?)\s+([-+]?(?:\d|\.\d|nan\b|inf\b).*)", re.IGNORECASE)
_WORDS = re.compile(
    r"([A-Za-z_][\w/.@()%-]{0,100})(?:\s*[:=]\s*|\s+)([-+]?(?:\d|\.\d|nan\b|inf\b)[^\s,;]*)(?=[\s,;]|$)"
)
_HELD_OUT = re.compile(r"valid|eval", re.IGNORECASE)


def iteration(line: str, number: int = 1) -> Row | None:
    """The row of a line with a step, behind which at least half of what is listed is a name and a number.

    What a line says of held-out data (``validate step: 10``, ``Validation | Step: 10``) gets ``validate/`` before
    its names, so that its loss is not taken for the training loss.
    """
    if (
        "tep" not in line
        and "ter" not in line
        and "pdate" not in line
        and "pisode" not in line
        and "ITER" not in line
        and "STEP" not in line
    ):
        return None
    head = _HEAD.search(line)
    if not head:
        return None
    rest = line[head.end() :].lstrip("]):,| \t-")
    if not rest or len(rest) > 1 << 16:
        return None
    fields: dict[str, Any] = {}
    pieces = [piece for piece in _CUT.split(rest) if piece.strip()]
    prefix = "validate/" if _HELD_OUT.search(head[1]) or "Validation |" in line[: head.end()] else ""
    for piece in pieces:
        piece = piece.strip()
        found = None if len(piece) > LONGEST_FIELD else _NAMED.fullmatch(piece) or _SPACED.fullmatch(piece)
        value = value_with_unit(found[2]) if found else None
        if found and isinstance(value, float):
            fields[prefix + found[1]] = value
    if not fields or 2 * len(fields) < len(pieces):
        fields = {prefix + name: value for name, value in _in_words(rest).items()}
    if not fields:
        return None
    return Row(fields, number, float(head[2].replace(",", "")))


def _in_words(rest: str) -> dict[str, float]:
    """``reward 0.5 entropy 0.25`` or ``reward:0.5 entropy:0.25``: a line of nothing but names and numbers."""
    fields: dict[str, float] = {}
    covered = 0
    for found in _WORDS.finditer(rest):
        value = value_with_unit(found[2])
        if isinstance(value, float):
            fields[found[1]] = value
            covered += len(found[0].replace(" ", ""))
    whole = len(rest.replace(" ", ""))
    return fields if len(fields) >= 2 and covered >= 0.9 * whole else {}
