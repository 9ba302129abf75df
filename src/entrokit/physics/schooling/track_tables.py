"""Tracks in a table: a row an agent and frame."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .track_columns import POSITION, VELOCITY, columns_of
from .track_file import TrackFile, unit_note, vectors

KINDS = (".csv", ".tsv", ".txt")

# What pandas and R write where there is no number.
_NONE = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"}


def read_table(path: Path, dt: float | None, columns: Mapping[str, str]) -> TrackFile:
    """Rows of cells between commas, semicolons or tabs, whichever the first line has most of.

    Args:
        columns: names of columns in the file, by what they hold: see `columns_of`.

    Raises:
        ValueError: columns that are not there, cells that are no numbers, an agent twice at one time.
        OSError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            # Where two are as many, the comma.
            rows = csv.DictReader(file, delimiter=max(",;\t", key=header.count), skipinitialspace=True)
            return _tracks(path, rows, dt, columns)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no rows in UTF-8: {error}") from None


def _tracks(path: Path, rows: csv.DictReader[str], dt: float | None, columns: Mapping[str, str]) -> TrackFile:
    held = columns_of(path, rows.fieldnames or (), columns)
    when = "time" if "time" in held else "frame"
    moving = "vx" in held
    wanted = [held[n] for n in (when, *POSITION, *(VELOCITY if moving else ()))]
    names, read, empty = [], [], []
    for row in rows:
        line = rows.line_num
        if None in row:
            raise ValueError(
                f"{path}, line {line}: more cells than the {len(rows.fieldnames or ())} columns of the first line; "
                "decimals take a point"
            )
        names.append(_name(path, line, row, held["id"]))
        read.append([_number(path, line, row, name) for name in wanted])
        if math.isnan(read[-1][0]):
            raise ValueError(f"{path}, line {line}: a row without {held[when]}")
        if any(map(math.isnan, read[-1])):
            empty.append(line)
    if not read:
        raise ValueError(f"{path}: no row")
    table = np.array(read)
    times, frame = np.unique(table[:, 0], return_inverse=True)
    agents = sorted(set(names), key=lambda n: (len(n), n))
    column: Mapping[str, int] = {name: i for i, name in enumerate(agents)}
    agent = np.array([column[name] for name in names])
    count = np.bincount(frame * len(agents) + agent)
    if count.max() > 1:
        at, who = divmod(int(count.argmax()), len(agents))
        raise ValueError(f"{path}: agent {agents[who]} twice at {held[when]} {times[at]:g}")
    filled = np.full((len(times), len(agents), table.shape[1] - 1), np.nan)
    filled[frame, agent] = table[:, 1:]
    x = vectors(path, "positions", filled[..., :3])
    v = vectors(path, "velocities", filled[..., 3:]) if moving else None
    if when == "time":
        if dt is not None:
            raise ValueError(f"{path}: has times of its own, in its column {held[when]}; dt is for frames")
        return TrackFile(times, agents, x, v, empty=empty)
    return TrackFile(times * (1.0 if dt is None else dt), agents, x, v, empty=empty, notes=unit_note(dt))


def _name(path: Path, line: int, row: Mapping[str, str | None], name: str) -> str:
    text = (row[name] or "").strip()
    if not text:
        raise ValueError(f"{path}, line {line}: no {name}, so that nobody knows whose row it is")
    return text


def _number(path: Path, line: int, row: Mapping[str, str | None], name: str) -> float:
    text = (row[name] or "").strip()
    if text.casefold() in _NONE:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        hint = "; decimals take a point" if "," in text else "; a gap is empty or NA"
        raise ValueError(f"{path}, line {line}: {name} is {text!r}, no number{hint}") from None
    if math.isinf(number):
        raise ValueError(f"{path}, line {line}: {name} is {text}; a gap is empty or NA")
    return number
