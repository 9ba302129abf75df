"""Files of tracks: a row an agent and frame, or arrays."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TIMES, _FRAMES = ("time", "t", "times"), ("frame", "frames")
_AGENTS = ("id", "agent", "fish", "track", "track_id", "particle")
_POSITION, _VELOCITY = ("x", "y", "z"), ("vx", "vy", "vz")


@dataclass(frozen=True)
class TrackFile:
    """What a file holds: ``times (T,)``, names of agents, positions and velocities ``(T, N, 3)``, NaN in gaps.

    ``axes_known``: whether anything in the file says which axis is that of the frames.
    """

    times: Floats
    agents: Sequence[str]
    positions: Floats
    velocities: Floats | None
    axes_known: bool = True
    notes: Sequence[str] = field(default=())


def read_track_file(path: Path, dt: float | None) -> TrackFile:
    """
    Raises:
        ValueError: a kind of file, columns or shapes that are not known; numbers that are none.
        OSError: it cannot be read.
    """
    if dt is not None and not 0 < dt < math.inf:
        raise ValueError(f"dt: time from frame to frame, above 0, got {dt}")
    kind = path.suffix.casefold()
    if kind == ".csv":
        try:
            return _of_rows(path, dt)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: no rows in UTF-8: {error}") from None
    if kind not in (".npy", ".npz"):
        raise ValueError(f"{path}: .csv, .npy or .npz, got {path.suffix or 'no ending'}")
    try:
        held = np.load(path, allow_pickle=False)
        arrays = held if isinstance(held, np.ndarray) else _unpacked(held)
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: no array of numbers: {error}") from None
    if isinstance(arrays, np.ndarray):
        x, v = (arrays[..., :3], arrays[..., 3:]) if arrays.ndim == 3 and arrays.shape[-1] == 6 else (arrays, None)
        return _of_arrays(path, x, v, None, dt)
    times = next((arrays[name] for name in _TIMES if name in arrays), None)
    if "positions" not in arrays:
        raise ValueError(f"{path}: holds {', '.join(arrays) or 'nothing'}, but no `positions`")
    return _of_arrays(path, arrays["positions"], arrays.get("velocities"), times, dt)


def _unpacked(held: NpzFile) -> dict[str, NDArray[np.generic]]:
    with held:
        return {name: held[name] for name in held.files}


def _of_arrays(
    path: Path, positions: NDArray[np.generic], velocities: NDArray[np.generic] | None, times: object, dt: float | None
) -> TrackFile:
    x = _numbers(path, "positions", positions)
    v = None if velocities is None else _numbers(path, "velocities", velocities)
    if v is not None and v.shape != x.shape:
        raise ValueError(f"{path}: positions {x.shape} and velocities {v.shape} differ in shape")
    agents = [str(i) for i in range(x.shape[1])]
    if times is None:
        return TrackFile(_frames(len(x), dt), agents, x, v, axes_known=False, notes=_unit_note(dt))
    try:
        when = np.asarray(times, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: times are numbers: {error}") from None
    if dt is not None:
        raise ValueError(f"{path}: has times of its own; dt is for frames")
    if when.shape != x.shape[:1]:
        raise ValueError(f"{path}: times {when.shape} for positions {x.shape}: one a frame")
    _check_rising(path, when)
    return TrackFile(when, agents, x, v)


def _numbers(path: Path, name: str, given: NDArray[np.generic]) -> Floats:
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


def _of_rows(path: Path, dt: float | None) -> TrackFile:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        columns = {name.strip().casefold(): name for name in rows.fieldnames or ()}
        when = next((n for n in (*_TIMES, *_FRAMES) if n in columns), None)
        who = next((n for n in _AGENTS if n in columns), None)
        lacking = [n for n in _POSITION if n not in columns]
        if when is None or who is None or lacking:
            wanted = [*lacking, *([] if when else ["time or frame"]), *([] if who else ["id"])]
            hint = "; planar tracks need a column z of one depth" if lacking == ["z"] else ""
            raise ValueError(f"{path}: no column {', '.join(wanted)} among {', '.join(columns) or 'none'}{hint}")
        moving = [n for n in _VELOCITY if n in columns]
        if moving and len(moving) < 3:
            raise ValueError(f"{path}: velocities have three columns, {', '.join(_VELOCITY)}; got {', '.join(moving)}")
        wanted = [columns[n] for n in (when, *_POSITION, *moving)]
        read = [
            (_name(path, rows.line_num, row, columns[who]), [_number(path, rows.line_num, row, n) for n in wanted])
            for row in rows
        ]
    if not read:
        raise ValueError(f"{path}: no row")
    names, table = [name for name, _ in read], np.array([numbers for _, numbers in read])
    if not np.isfinite(table[:, 0]).all():
        raise ValueError(f"{path}: a row without {when}")
    times, frame = np.unique(table[:, 0], return_inverse=True)
    agents = sorted(set(names), key=lambda n: (len(n), n))
    column: Mapping[str, int] = {name: i for i, name in enumerate(agents)}
    agent = np.array([column[name] for name in names])
    twice = np.bincount(frame * len(agents) + agent).argmax()
    held = np.full((len(times), len(agents), table.shape[1] - 1), np.nan)
    if len(read) > len(set(zip(frame.tolist(), agent.tolist(), strict=True))):
        raise ValueError(f"{path}: agent {agents[twice % len(agents)]} twice at {when} {times[twice // len(agents)]:g}")
    held[frame, agent] = table[:, 1:]
    x = _numbers(path, "positions", held[..., :3])
    v = _numbers(path, "velocities", held[..., 3:]) if moving else None
    if when in _TIMES:
        if dt is not None:
            raise ValueError(f"{path}: has times of its own, in its column {when}; dt is for frames")
        return TrackFile(times, agents, x, v)
    return TrackFile(times * (1.0 if dt is None else dt), agents, x, v, notes=_unit_note(dt))


def _name(path: Path, line: int, row: Mapping[str, str | None], name: str) -> str:
    text = (row[name] or "").strip()
    if not text:
        raise ValueError(f"{path}, line {line}: no {name}, so that nobody knows whose row it is")
    return text


def _number(path: Path, line: int, row: Mapping[str, str | None], name: str) -> float:
    text = (row[name] or "").strip()
    try:
        number = float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"{path}, line {line}: {name} is {text!r}, no number") from None
    if math.isinf(number):
        raise ValueError(f"{path}, line {line}: {name} is {text}; a gap is empty")
    return number


def _frames(count: int, dt: float | None) -> Floats:
    return np.arange(count, dtype=np.float64) * (1.0 if dt is None else dt)


def _unit_note(dt: float | None) -> Sequence[str]:
    return ("times are frames: give dt for another unit",) if dt is None else ()


def _check_rising(path: Path, times: Floats) -> None:
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError(f"{path}: times are finite, and each after the one before")
