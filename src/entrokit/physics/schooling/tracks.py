"""Tracked schools: positions of agents over time, as tracking gives them, made ready for measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .checked import TINY, Still, checked_box, several
from .entropies import lacking_agents
from .series import SchoolSeries, school_series
from .track_arrays import read_arrays
from .track_checks import check_axes, check_order, check_steps, check_walls, in_box
from .track_file import Floats, TrackFile
from .track_tables import KINDS, read_table

__all__ = ["Gaps", "Tracks", "load_tracks"]

Gaps = Literal["error", "frames", "agents"]


@dataclass(frozen=True)
class Tracks:
    """Tracks without gaps.

    Attributes:
        times: ``(T,)``. agents: names of the N agents. positions, velocities: ``(T, N, 3)``, float64.
        box: side of the cube. periodic: whether its opposite walls are one.
        notes: what was left out, and what was derived.
    """

    times: Floats
    agents: Sequence[str]
    positions: Floats
    velocities: Floats
    box: float
    periodic: bool
    notes: Sequence[str] = field(default=())

    def measure(self, *, still: Still = "error", **options: Any) -> SchoolSeries:
        """Order parameters, entropies and index, frame by frame.

        Args:
            still: what agents without speed have: an ``error``, which names them, or the heading ``zero``.
            options: of `school_entropies`, but for ``periodic``, which the tracks say.

        Raises:
            ValueError: whatever `school_series` refuses.
        """
        slow = np.linalg.norm(self.velocities, axis=-1) < TINY
        notes = list(self.notes)
        if slow.any():
            by_agent = zip(self.agents, slow.sum(axis=0).tolist(), strict=True)
            whose = _few([f"{name} in {several(frames, 'frame')}" for name, frames in by_agent if frames])
            said = f"agents without speed, and so without a heading: {whose}"
            if still == "error":
                raise ValueError(
                    f"{said}; leave them out, or give still='zero' (--still zero), which takes each for a heading in "
                    "the plane z = 0, as the released code does"
                )
            notes.append(said)
        series = school_series(
            self.times, self.positions, self.velocities, self.box, still=still, periodic=self.periodic, **options
        )
        few = lacking_agents(len(self.agents), options.get("k", 5))
        if few:
            value = options.get("undefined", 0.5)
            notes.append(f"too few agents ({len(self.agents)}) for {', '.join(few)}: {value:g} stands for each")
        lost = {n: float(s.mean()) for n, s in series.dropped.items() if n not in few and bool((s > 0).any())}
        notes += [f"{name}: {share:.1%} of the values lie outside of its histogram" for name, share in lost.items()]
        return replace(series, notes=tuple(notes))


def load_tracks(
    path: str | Path,
    *,
    box: float,
    dt: float | None = None,
    periodic: bool = True,
    gaps: Gaps = "error",
    columns: Mapping[str, str] | None = None,
) -> Tracks:
    """Tracks of a file, checked.

    A table (``.csv``, ``.tsv``, ``.txt``; commas, semicolons or tabs) has a row an agent and frame, and names of its
    columns in its first line: ``x``, ``y``, ``z``; one of ``time``, ``t``, ``times``, ``frame``, ``frames``; one of
    ``id``, ``agent``, ``fish``, ``track``, ``track_id``, ``particle``; and ``vx``, ``vy``, ``vz`` where there are
    velocities. Others are not read. A missing agent lacks its row, or has an empty cell, NA or NaN.

    Arrays are a ``.npy`` of ``(T, N, 3)``, or of ``(T, N, 6)`` with velocities; or a ``.npz`` of ``positions`` and, if
    there, ``velocities`` and ``times``. A missing agent has NaN.

    Args:
        box: side of the cube that positions lie in, from 0, in their unit.
        dt: time from one frame to the next, where the file has frames instead of times; 1 by default.
        periodic: False for a tank with walls.
        gaps: what tracks with gaps get: an ``error`` that names them; only the ``frames`` in which everybody is there;
            or only the ``agents`` that are there in every frame.
        columns: of a table whose columns have other names: ``{"frame": "t", "id": "fish no", "x": "px"}``. Keys are
            ``time`` or ``frame``, ``id``, ``x``, ``y``, ``z``, ``vx``, ``vy``, ``vz``.

    Velocities that are not there are central differences (one-sided at ends and beside gaps; in a periodic box to the
    nearest image).

    Raises:
        ValueError: a file that is none of these, positions outside of the box, units or axes that contradict one
            another, gaps, too few frames.
        OSError: the file cannot be read.
    """
    side = checked_box(box)
    if gaps not in get_args(Gaps):
        raise ValueError(f"gaps: one of {', '.join(get_args(Gaps))}, got {gaps!r}")
    if dt is not None and not 0 < dt < math.inf:
        raise ValueError(f"dt: time from frame to frame, above 0, got {dt}")
    read = _read(Path(path), dt, columns or {})
    x, notes = in_box(read.positions, side, periodic), list(read.notes)
    derived = _differences(x, read.times, side if periodic else None)
    if not periodic:
        check_walls(x, side)
    if not read.axes_known:
        check_order(x, side if periodic else None)
    if read.velocities is None:
        if len(x) < 2:
            raise ValueError(f"{path}: one frame and no velocities; headings need either these or a second frame")
        v = derived
        notes.append("velocities are differences of the positions")
        if periodic:
            check_steps(x, side)
    else:
        v = read.velocities
        notes += check_axes(v, derived)
    frames, agents = _kept(x, v, read, gaps, notes)
    inside = np.ix_(frames, agents)
    return Tracks(
        read.times[frames],
        tuple(read.agents[i] for i in agents),
        x[inside],
        v[inside],
        side,
        periodic,
        tuple(notes),
    )


def _read(path: Path, dt: float | None, columns: Mapping[str, str]) -> TrackFile:
    kind = path.suffix.casefold()
    if kind not in (*KINDS, ".npy", ".npz"):
        raise ValueError(f"{path}: {', '.join(KINDS)}, .npy or .npz, got {path.suffix or 'no ending'}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if kind in KINDS:
        return read_table(path, dt, columns)
    if columns:
        raise ValueError(f"{path}: columns are of tables; arrays have names of their own, `positions` and so on")
    return read_arrays(path, dt)


def _differences(x: Floats, times: Floats, box: float | None) -> Floats:
    """Velocities at ``times (T,)`` of positions ``(T, N, 3)``, NaN where neither neighbour in time is there."""
    step = np.diff(x, axis=0)
    if box is not None:
        step -= box * np.round(step / box)
    lapse = np.diff(times)[:, None, None]
    nothing = np.full_like(x[:1], np.nan)
    ahead, behind = np.concatenate([step / lapse, nothing]), np.concatenate([nothing, step / lapse])
    until, since = (np.concatenate(parts) for parts in ((lapse, lapse[:1] * 0 + 1), (lapse[:1] * 0 + 1, lapse)))
    central = (since * ahead + until * behind) / (since + until)
    return np.where(np.isnan(central), np.where(np.isnan(ahead), behind, ahead), central)


def _kept(
    x: Floats, v: Floats, read: TrackFile, gaps: Gaps, notes: list[str]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which frames and which agents make tracks without gaps."""
    times, agents = read.times, read.agents
    lacking: NDArray[np.bool_] = np.logical_or(np.isnan(x).any(axis=2), np.isnan(v).any(axis=2))
    by_frame, by_agent = lacking.sum(axis=1), lacking.sum(axis=0)
    whole, always = np.flatnonzero(by_frame == 0), np.flatnonzero(by_agent == 0)
    if len(whole) == len(times):
        return whole, always
    who = _few(
        [f"{name} ({several(lost, 'frame')})" for name, lost in zip(agents, by_agent.tolist(), strict=True) if lost]
    )
    said = f"tracks with gaps: {who}, the first at time {times[(by_frame > 0).argmax()]:g}"
    if read.empty:
        said += f"; cells without a number in line{'s' * (len(read.empty) > 1)} {_few(list(map(str, read.empty)))}"
    if gaps == "error":
        raise ValueError(
            f"{said}. Give gaps='frames' (--gaps frames) to measure the {len(whole)} of {len(times)} frames in which "
            f"all are there, or 'agents' for the {len(always)} of {len(agents)} agents that are always there; or fill "
            "them in"
        )
    kept = (whole, np.arange(len(agents))) if gaps == "frames" else (np.arange(len(times)), always)
    if not len(kept[0]) or not len(kept[1]):
        raise ValueError(f"{said}: with gaps={gaps!r} none of the {gaps} is left")
    notes.append(f"{said}; {len(kept[0])} of {len(times)} frames and {len(kept[1])} of {len(agents)} agents are kept")
    return kept


def _few(names: Sequence[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
