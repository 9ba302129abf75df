"""How numbers of several seeds are said and drawn."""

from __future__ import annotations

import math
import statistics

import torch


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def log10(value: float) -> float:
    return math.log10(max(value, 1e-16))


def medians(table: dict[str, list[float]]) -> str:
    return "; ".join(
        f"{name} {statistics.median(own):.1e} ({min(own):.1e} to {max(own):.1e})" for name, own in table.items()
    )
