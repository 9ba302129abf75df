"""What the columns of a table of tracks are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

POSITION, VELOCITY = ("x", "y", "z"), ("vx", "vy", "vz")
KNOWN: Mapping[str, Sequence[str]] = {
    "time": ("time", "t", "times"),
    "frame": ("frame", "frames"),
    "id": ("id", "agent", "fish", "track", "track_id", "particle"),
    **{name: (name,) for name in (*POSITION, *VELOCITY)},
}
"""Names that are looked for, by what a column holds: the first that is there counts, and time before frame."""


def columns_of(path: Path, header: Sequence[str], asked: Mapping[str, str]) -> dict[str, str]:
    """Names as the file has them, by what they hold: time or frame, id, x, y, z, and velocities if there are any.

    Args:
        asked: keys of `KNOWN` to names in the file, where these are others. Case and spaces around them do not matter.

    Raises:
        ValueError: a key that is none; a column that is not there, there twice, or asked for twice; a part of a
            velocity.
    """
    _check_asked(asked)
    there = {_plain(name): name for name in header}
    held = {}
    for key, known in KNOWN.items():
        found = next((n for n in ((_plain(asked[key]),) if key in asked else known) if n in there), None)
        if found is not None:
            held[key] = there[found]
        elif key in asked:
            raise ValueError(f"{path}: no column {asked[key]} for {key} among {_said(there)}")
    if "time" in held and "frame" in held:
        del held["time" if "frame" in asked else "frame"]
    _check_held(path, held, there)
    for name in held.values():
        if sum(_plain(other) == _plain(name) for other in header) > 1:
            raise ValueError(f"{path}: two columns are called {name.strip()}")
    return held


def _check_asked(asked: Mapping[str, str]) -> None:
    unknown = [key for key in asked if key not in KNOWN]
    if unknown:
        raise ValueError(f"columns: of {', '.join(KNOWN)}; got {', '.join(unknown)}")
    if "time" in asked and "frame" in asked:
        raise ValueError("columns: time or frame, one of them")
    plain = [_plain(name) for name in asked.values()]
    shared = [key for key, name in zip(asked, plain, strict=True) if plain.count(name) > 1]
    if shared:
        raise ValueError(f"columns: {' and '.join(shared)} are one column, {asked[shared[0]]}")


def _check_held(path: Path, held: Mapping[str, str], there: Mapping[str, str]) -> None:
    lacking = [key for key in POSITION if key not in held]
    lacking += [] if {"time", "frame"} & set(held) else ["time or frame"]
    lacking += [] if "id" in held else ["id"]
    if lacking:
        key = lacking[0].split()[-1]
        hint = f"; if it has another name: columns={{{key!r}: ...}}, --columns {key}=..."
        planar = "; planar tracks need a column z of one depth"
        raise ValueError(
            f"{path}: no column {', '.join(lacking)} among {_said(there)}{planar if lacking == ['z'] else hint}"
        )
    moving = [key for key in VELOCITY if key in held]
    if moving and len(moving) < 3:
        raise ValueError(f"{path}: velocities have three columns, {', '.join(VELOCITY)}; got {', '.join(moving)}")


def _plain(name: str) -> str:
    return name.strip().casefold()


def _said(there: Mapping[str, str]) -> str:
    return ", ".join(there) or "none"
