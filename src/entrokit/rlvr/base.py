"""What is always there in a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from .advantages import AdvantageEstimator
from .surrogates import Surrogate


@dataclass(frozen=True)
class Base:
    """One whole set of choices. ``aggregation``: one of `AGGREGATIONS`."""

    advantage: AdvantageEstimator
    surrogate: Surrogate
    aggregation: str
