"""What a file of tracks holds, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrackFile:
    """What a file holds: ``times (T,)``, names of agents, positions and velocities ``(T, N, 3)``, NaN in gaps.

    ``axes_known``: whether anything in the file says which axis is that of the frames. ``empty``: lines of a table with
    a cell that holds no number.
    """

    times: Floats
    agents: Sequence[str]
    positions: Floats
    velocities: Floats | None
    axes_known: bool = True
    empty: Sequence[int] = ()
    notes: Sequence[str] = field(default=())


def vectors(path: Path, name: str, given: NDArray[np.generic]) -> Floats:
    """Vectors ``(T, N, 3)`` in float64, NaN where one of the three is.

    Raises:
        ValueError: another shape, no numbers, or infinities.
    """
    if given.ndim != 3 or given.shape[-1] != 3:
        hint = "; planar tracks need a column of one depth" if given.ndim == 3 and given.shape[-1] == 2 else ""
        raise ValueError(f"{path}: {name} are (frames, agents, 3), got {given.shape}{hint}")
    if 0 in given.shape or not (np.issubdtype(given.dtype, np.floating) or np.issubdtype(given.dtype, np.integer)):
        raise ValueError(f"{path}: {name} hold no numbers: {given.shape}, {given.dtype}")
    numbers = given.astype(np.float64)
    if np.isinf(numbers).any():
        raise ValueError(f"{path}: {name} hold infinities; a gap is NaN")
    # Half a vector is none.
    return np.where(np.isnan(numbers).any(-1, keepdims=True), np.nan, numbers)


def unit_note(dt: float | None) -> Sequence[str]:
    """What is to be said of times that are numbers of frames."""
    return ("times are frames: give dt for another unit",) if dt is None else ()
