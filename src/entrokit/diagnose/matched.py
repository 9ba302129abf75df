"""Entropy (or anything else) where two runs are equally good, instead of where they are equally old."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def at_level(value: ArrayLike, accuracy: ArrayLike, level: float) -> float | None:
    """``value`` where ``accuracy`` first reaches a level, linear between points; None if it never does.

    Args:
        value, accuracy: ``[N]``, along the course of a run.

    Raises:
        ValueError: lengths that differ.
    """
    values, accuracies = np.asarray(value, dtype=np.float64), np.asarray(accuracy, dtype=np.float64)
    if values.shape != accuracies.shape or values.ndim != 1:
        raise ValueError(f"at_level: value {values.shape} and accuracy {accuracies.shape} must be 1-D of one length")
    reached = np.flatnonzero(accuracies >= level - 1e-12)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0:
        return float(values[0])
    share = (level - accuracies[i - 1]) / (accuracies[i] - accuracies[i - 1])
    return float(values[i - 1] + share * (values[i] - values[i - 1]))
