"""``name=value`` in a line: a progress bar's postfix, or a logger of keys and values.

tqdm's ``set_postfix`` (OpenRLHF and many others), logfmt, loguru::

    Training:  12%|█▏        | 12/100 [00:10<01:20, 1.10it/s, loss=0.5, entropy=0.3]
    level=info step=3 loss=0.4 reward=0.1
"""

from __future__ import annotations

import re
from typing import Any

from ..row import Row
from .values import value_with_unit

# Bounded everywhere: a name may hold the brackets that it may begin behind, and a hostile line nothing else.
_PAIR = re.compile(
    r"""(?:^|(?<=[\s,;\[({|]))([A-Za-z_][\w./@()%-]{0,200})\s?=\s?"""
    r"""("[^"]{0,500}"|'[^']{0,500}'|(?:np\.|numpy\.|torch\.)?\w{1,40}\([^()]{0,200}\)|[^\s,;|\])}]+)"""
)
_BAR = re.compile(r"\|\s*(\d+)/(\d+|\?)\s*\[")
_STEP = re.compile(
    r"(?:^|[\s\[(|])(?:(?:global|train|training)[ _])?(?:step|iter|iteration|update)[ :#=]{1,3}(\d+)", re.I
)
_STEP_NAMES = (
    *("step", "global_step", "train/global_step", "trainer/global_step", "train_step", "training_step"),
    *("iteration", "iter", "it", "update"),
)


def equals(line: str, number: int = 1) -> Row | None:
    """The row of a line with pairs and a step, or a progress bar with numbers behind it; None otherwise.

    The count of a bar is the step, unless it counts within an epoch or the pairs hold a step themselves.
    """
    if "=" not in line:
        return None
    bar = ("it/s" in line or "s/it" in line) and _BAR.search(line)
    if not bar and "tep" not in line and "ter" not in line and "pdate" not in line:
        return None
    text = line[bar.end() :] if bar else line
    found = _PAIR.findall(text)
    if not found:
        return None
    fields: dict[str, Any] = {}
    for name, value in found:
        fields[name] = value[1:-1] if value[0] in "'\"" else value_with_unit(value)
    named = next((fields[n] for n in _STEP_NAMES if n in fields), None)
    step = float(named) if isinstance(named, float) else None
    if step is None and bar:
        step = None if "epoch" in line[: bar.start()].lower() else float(bar[1])
    elif step is None and (said := _STEP.search(line)):
        step = float(said[1])
    if not bar and step is None:
        return None
    others = [n for n, v in fields.items() if isinstance(v, float) and n not in _STEP_NAMES]
    return Row(fields, number, step) if others else None
