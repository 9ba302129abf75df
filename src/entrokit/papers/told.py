"""How numbers of several seeds are said in a finding."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def spread(values: Sequence[float], digits: str = ".3f") -> str:
    """Mean and range: ``0.500 (0.400 to 0.600)``."""
    return f"{fmean(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"
