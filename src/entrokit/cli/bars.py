"""A course of numbers as a line of small bars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"


def bars(values: Sequence[float], width: int = 32, span: tuple[float, float] | None = None) -> str:
    """A course of finite values in at most ``width`` characters, which are means of equal stretches.

    Args:
        span: values of the lowest and the highest bar; the course's own by default.
    """
    n = min(width, len(values))
    cuts = [len(values) * i // n for i in range(n + 1)] if n else []
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = span or (min(means, default=0.0), max(means, default=0.0))
    top = len(_BARS) - 1
    return "".join(_BARS[round((m - low) / (high - low) * top) if high > low else 0] for m in means)
