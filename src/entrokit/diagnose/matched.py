"""Entropy (or anything else) where two runs are equally good, instead of where they are equally old."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entrokit.runs import Run

# Generation batches averaged before a curve is asked where it crosses a level: one batch is 16 prompts.
_SMOOTHING = 15


@dataclass(frozen=True)
class Course:
    """How a run went: entropy (nats) and accuracy at the same ``[N]`` moments, and those moments in steps."""

    steps: NDArray[np.float64]
    entropy: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    def entropy_at(self, accuracy: float) -> float | None:
        """Entropy when accuracy first reaches a level, linear between points; None if it never does."""
        return at_level(self.entropy, self.accuracy, accuracy)

    def steps_to(self, accuracy: float) -> float | None:
        """Steps until accuracy first reaches a level, linear between points; None if it never does."""
        return at_level(self.steps, self.accuracy, accuracy)


def training_course(run: Run) -> Course:
    """Entropy and accuracy (pass@1) of a run's training batches, as running means over 15 batches.

    Raises:
        ValueError: no training batch with both yet.
    """
    (steps, entropy), (_, accuracy) = (run.series(name) for name in ("entropy", "pass@1"))
    if not entropy or len(entropy) != len(accuracy):
        raise ValueError(f"{run.folder}: no training batches with both entropy and pass@1 yet")
    window = min(_SMOOTHING, len(entropy))
    kernel = np.ones(window) / window
    smoothed = (np.convolve(np.asarray(x, dtype=np.float64), kernel, "valid") for x in (steps, entropy, accuracy))
    return Course(*smoothed)


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
