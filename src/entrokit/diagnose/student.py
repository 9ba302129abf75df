"""Student's t for whole degrees of freedom, exactly: its distribution function is a finite sum there."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def student_quantile(confidence: float, freedom: int) -> float:
    """The t with ``P(|T| <= t) = confidence``: how many standard errors a mean's interval reaches to either side.

    Args:
        confidence: in (0, 1). freedom: degrees of freedom, at least 1; for a mean one less than the values.

    Returns:
        A number above 0, to about 1e-12 of itself for confidences from 0.5 to 0.999.

    Raises:
        ValueError: an argument out of range.
    """
    if not 0.0 < confidence < 1.0 or freedom < 1:
        raise ValueError(f"student_quantile: needs confidence in (0, 1) and freedom >= 1, got {confidence}, {freedom}")
    low, high = 0.0, math.pi / 2
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """``P(|T| <= √ν tan angle)`` at ν degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    odd = freedom % 2
    j = np.arange(1, (freedom - odd) // 2)
    terms = np.cumprod(math.cos(angle) ** 2 * (2 * j - 1 + odd) / (2 * j + odd))
    total = math.sin(angle) * (1.0 + float(terms.sum()))
    if not odd:
        return total
    return 2 / math.pi * (angle + (total * math.cos(angle) if freedom > 1 else 0.0))
