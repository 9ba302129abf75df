"""What is measured of a trajectory, frame by frame, and what is said of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checked import Array, Still, checked_vectors
from .entropies import school_entropies
from .order import polarization, rotation, spread

__all__ = ["SchoolSeries", "school_series", "second_half"]


@dataclass(frozen=True)
class SchoolSeries:
    """Measures of a trajectory.

    Attributes:
        times: ``(T,)``, of the frames.
        values: by name, each ``(T, ...)``: ``polarization``, ``rotation`` and ``spread`` of the functions of these
            names, the seven entropies as `SchoolEntropies` names them, ``index``.
        dropped: share of values outside of their histogram's range, as `SchoolEntropies` has it.
        notes: what was found on the way, for whoever reads the numbers.
    """

    times: Tensor
    values: Mapping[str, Tensor]
    dropped: Mapping[str, Tensor]
    notes: Sequence[str] = field(default=())

    def summary(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and standard deviation of every measure over the second half of the frames."""
        return {name: second_half(series) for name, series in self.values.items()}


def school_series(
    times: Array, positions: Array, velocities: Array, box: float, *, still: Still = "error", **options: Any
) -> SchoolSeries:
    """Order parameters, entropies and index of a trajectory ``(T, ..., N, 3)``, in one call.

    Args:
        times: ``(T,)``, rising; frames may lie as densely as one likes.
        options: of `school_entropies`. With ``periodic_centroid`` rotation and spread are seen from there, too.

    Raises:
        ValueError: times that do not fit or do not rise, and whatever `school_entropies` refuses.
    """
    x = checked_vectors("positions", positions)
    # Seconds since 1970 are alike in float32, which torch makes of a list.
    when = (times if isinstance(times, Tensor) else torch.as_tensor(np.array(times, np.float64, order="C"))).double()
    if x.dim() < 3 or when.shape != x.shape[:1]:
        raise ValueError(f"times: one a frame of positions (T, ..., N, 3), got {tuple(when.shape)}, {tuple(x.shape)}")
    if not (when.isfinite().all() and (when.diff() > 0).all()):
        raise ValueError("times: finite, and each after the one before")
    entropies = school_entropies(x, velocities, box, still=still, **options)
    around = box if options.get("periodic_centroid") else None
    values = {
        "polarization": polarization(velocities, still=still),
        "rotation": rotation(x, velocities, box=around, still=still),
        "spread": spread(x, box=around),
        **entropies.as_dict(),
        "index": entropies.index(),
    }
    return SchoolSeries(when, values, entropies.dropped)


def second_half(series: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (ddof 0) of frames T // 2 to T - 1 of ``(T, ...)``, each ``(...)``."""
    half = series[len(series) // 2 :]
    return half.mean(0), half.std(0, correction=0)
