"""Probability mass functions: what is one, and its entropy in bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Floats

_SUM = 1e-6


def pmf(p: ArrayLike, name: str) -> Floats:
    """A probability vector ``[n]`` in float64, summing to 1 exactly up to rounding.

    Raises:
        ValueError: not 1-D, empty, a negative or infinite entry, or a sum that is off by more than 1e-6.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{name}: expected a 1-D vector of probabilities, got shape {values.shape}")
    total = float(values.sum())
    if abs(total - 1.0) > _SUM:
        raise ValueError(f"{name}: probabilities sum to {total:.8g} instead of 1; divide by their sum if that is meant")
    return values / total


def entropy_bits(p: ArrayLike) -> float:
    """Shannon entropy in bits of the masses in an array of any shape; zeros count nothing.

    Raises:
        ValueError: no mass at all, or one that is not finite: 0 would read as certainty.
    """
    x = np.asarray(p, dtype=np.float64)
    if not np.isfinite(x).all() or not (x > 0).any():
        raise ValueError(f"entropy_bits: expected finite masses, one above 0 at least, got shape {x.shape}")
    x = x[x > 0]
    return float(-(x * np.log2(x)).sum()) + 0.0


def information_bits(joint: ArrayLike) -> float:
    """Mutual information in bits of a joint pmf ``[n, m]``."""
    j = np.asarray(joint, dtype=np.float64)
    return max(0.0, entropy_bits(j.sum(1)) + entropy_bits(j.sum(0)) - entropy_bits(j))
