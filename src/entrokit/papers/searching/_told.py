"""How numbers of several seeds are said and drawn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def log10(value: float) -> float:
    return math.log10(max(value, 1e-16))


def spread(values: Sequence[float], digits: str = ".3f") -> str:
    return f"{statistics.fmean(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


def medians(table: dict[str, list[float]]) -> str:
    return "; ".join(
        f"{name} {statistics.median(own):.1e} ({min(own):.1e} to {max(own):.1e})" for name, own in table.items()
    )
