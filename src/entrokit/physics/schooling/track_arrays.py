"""Tracks in NumPy's files: .npy and .npz."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from .track_file import Floats, TrackFile, unit_note, vectors

TIMES = ("time", "t", "times")


def read_arrays(path: Path, dt: float | None) -> TrackFile:
    """
    Raises:
        ValueError: a file that is none, arrays or shapes that are not known, numbers that are none.
        OSError: it cannot be read.
    """
    try:
        held = np.load(path, allow_pickle=False)
        arrays = held if isinstance(held, np.ndarray) else _unpacked(held)
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: no array of numbers: {error}") from None
    if isinstance(arrays, np.ndarray):
        x, v = (arrays[..., :3], arrays[..., 3:]) if arrays.ndim == 3 and arrays.shape[-1] == 6 else (arrays, None)
        return _tracks(path, x, v, None, dt)
    times = next((arrays[name] for name in TIMES if name in arrays), None)
    if "positions" not in arrays:
        raise ValueError(f"{path}: holds {', '.join(arrays) or 'nothing'}, but no `positions`")
    return _tracks(path, arrays["positions"], arrays.get("velocities"), times, dt)


def _unpacked(held: NpzFile) -> dict[str, NDArray[np.generic]]:
    with held:
        return {name: held[name] for name in held.files}


def _tracks(
    path: Path, positions: NDArray[np.generic], velocities: NDArray[np.generic] | None, times: object, dt: float | None
) -> TrackFile:
    x = vectors(path, "positions", positions)
    v = None if velocities is None else vectors(path, "velocities", velocities)
    if v is not None and v.shape != x.shape:
        raise ValueError(f"{path}: positions {x.shape} and velocities {v.shape} differ in shape")
    agents = [str(i) for i in range(x.shape[1])]
    if times is None:
        frames: Floats = np.arange(len(x), dtype=np.float64) * (1.0 if dt is None else dt)
        return TrackFile(frames, agents, x, v, axes_known=False, notes=unit_note(dt))
    try:
        when = np.asarray(times, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: times are numbers: {error}") from None
    if dt is not None:
        raise ValueError(f"{path}: has times of its own; dt is for frames")
    if when.shape != x.shape[:1]:
        raise ValueError(f"{path}: times {when.shape} for positions {x.shape}: one a frame")
    if not (np.isfinite(when).all() and (np.diff(when) > 0).all()):
        raise ValueError(f"{path}: times are finite, and each after the one before")
    return TrackFile(when, agents, x, v)
