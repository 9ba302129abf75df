"""From the columns of one recording to the runs in it: which step a row belongs to, and where a run begins anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns, RawColumn, columns_of, number_of, step_number
from .names import Meaning, Names
from .recording import Recording
from .series import Floats, Series
from .training_log import Column, Notes

# A run that began anew has gone on for some steps before; a step that is written late has not.
_STEPS_BEFORE_A_RESTART = 2
_COVERS, _COVERS_AT_ALL = 0.9, 0.5
# An evaluation is a row of its own, and no step.
_EVALUATION = ("eval_", "eval/")


@dataclass(frozen=True)
class Course:
    """What one recording says of one run.

    Attributes:
        series: by quantity. columns: everything that was written, and what it was taken for. written: all names.
        where, source, config, run, began: of the recording. part: which of the runs below each other it is, from 0.
    """

    series: Mapping[str, Series]
    columns: tuple[Column, ...]
    engine: str | None
    where: Path
    source: str
    config: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    began: float | None = None
    part: int = 0

    @property
    def points(self) -> int:
        """Numbers that mean something."""
        return sum(len(s) for s in self.series.values())


def courses_of(recording: Recording, names: Names, notes: Notes) -> list[Course]:
    """The runs in a recording, in the order in which they were written."""
    steps_known = {s.lower() for s in names.all_step_names()}
    columns = columns_of(
        recording.rows(),
        lambda name: step_number if name.lower() in steps_known else (number_of if names.known(name) else None),
        notes,
        recording.where.name,
    )
    if not len(columns):
        return []
    engine = names.engine_of(columns.by_name)
    steps = _steps(columns, names, engine, notes, recording.where.name)
    _note_texts(columns, names, engine, notes, recording.where.name)
    chosen = _chosen(columns, names, engine)
    found: list[Course] = []
    for index, run in enumerate(columns.run_names):
        rows = np.flatnonzero(np.frombuffer(columns.runs, dtype=columns.runs.typecode) == index)
        for part, own in enumerate(_parts(rows, steps, columns, chosen)):
            series = {
                key: _series(columns.by_name[name], name, meaning, steps, own, recording.source)
                for key, (name, meaning) in chosen.items()
            }
            found.append(
                Course(
                    {key: s for key, s in series.items() if len(s) or s.broken},
                    _explained(columns, names, engine, chosen, series, recording.source),
                    engine,
                    recording.where,
                    recording.source,
                    recording.config,
                    run or recording.run,
                    recording.began,
                    part,
                )
            )
    return [course for course in found if course.series] or found[:1]


def _steps(columns: Columns, names: Names, engine: str | None, notes: Notes, where: str) -> Floats:
    """The step of every row: what its shape says, else the column of steps, else the rows are counted."""
    steps = np.array(columns.steps, dtype=np.float64)
    lacking = np.isnan(steps) & _metric_rows(columns, len(steps))
    if not lacking.any():
        return _filled(steps)
    best: tuple[float, str, Floats] | None = None
    lowered = {name.lower(): name for name in columns.by_name}
    for candidate in names.step_names(engine):
        name = lowered.get(candidate.lower())
        own = None if name is None else _spread(columns.by_name[name], len(steps))
        if name is None or own is None or not _advances(own):
            continue
        covered = float(np.isfinite(own[lacking]).mean())
        if best is None or (covered > best[0] and best[0] < _COVERS):
            best = (covered, name, own)
    if best is None or best[0] < _COVERS_AT_ALL:
        if np.isfinite(steps).any():
            return _filled(steps)
        notes.add("no step was written: rows are counted from 0", where)
        counted = np.cumsum(_metric_rows(columns, len(steps), but=_EVALUATION)) - 1.0
        return np.asarray(np.maximum(counted, 0.0))
    known: Floats = np.where(np.isnan(steps), best[2], steps)
    return _filled(known)


def _metric_rows(columns: Columns, n: int, but: tuple[str, ...] = ()) -> NDArray[np.bool_]:
    has = np.zeros(n, dtype=bool)
    for name, column in columns.by_name.items():
        if column.read is number_of and len(column.rows) and not (but and name.startswith(but)):
            has[np.frombuffer(column.rows, dtype=column.rows.typecode)] = True
    return has


def _spread(column: RawColumn, n: int) -> Floats:
    whole = np.full(n, np.nan)
    if len(column.rows):
        whole[np.frombuffer(column.rows, dtype=column.rows.typecode)] = column.values
    return whole


def _advances(steps: Floats) -> bool:
    known = steps[np.isfinite(steps)]
    return len(known) > 0 and (len(known) < 3 or float(np.ptp(known)) > 0)


def _filled(steps: Floats) -> Floats:
    """Rows without a step belong to the last one that was named, those before the first to the first."""
    known = np.flatnonzero(np.isfinite(steps))
    if not len(known):
        return np.zeros(len(steps))
    last = np.maximum.accumulate(np.where(np.isfinite(steps), np.arange(len(steps)), -1))
    return np.asarray(steps[np.where(last < 0, known[0], last)])


def _chosen(columns: Columns, names: Names, engine: str | None) -> dict[str, tuple[str, Meaning]]:
    """Of every quantity the column that counts: the engine's first choice among those that hold most numbers."""
    named: dict[str, list[tuple[str, Meaning]]] = {}
    for name, column in columns.by_name.items():
        meaning = names.meaning(name, engine) if column.read is number_of and column.points else None
        if meaning is not None:
            named.setdefault(meaning.key, []).append((name, meaning))
    chosen = {}
    for key, candidates in named.items():
        most = max(columns.by_name[name].points for name, _ in candidates)
        full = [c for c in candidates if columns.by_name[c[0]].points > _COVERS_AT_ALL * most or c[1].rank < 0]
        chosen[key] = min(full, key=lambda c: c[1].rank)
    return chosen


def _parts(
    rows: NDArray[np.intp], steps: Floats, columns: Columns, chosen: Mapping[str, tuple[str, Meaning]]
) -> list[NDArray[np.intp]]:
    """A run's rows, cut where the steps begin again from the first one."""
    inside = np.zeros(len(steps), dtype=bool)
    inside[rows] = True
    written = [
        np.frombuffer(columns.by_name[n].rows, dtype=columns.by_name[n].rows.typecode) for n, _ in chosen.values()
    ]
    written = [w[inside[w]] for w in written]
    reference = max(written, key=len, default=np.zeros(0, dtype=np.intp))
    cuts = []
    first, most, since = np.inf, -np.inf, 0
    for row, step in zip(reference.tolist(), steps[reference].tolist(), strict=True):
        if step <= first and since >= _STEPS_BEFORE_A_RESTART:
            cuts.append(_start_of(row, float(step), rows, steps))
            first, most, since = step, step, 0
        elif step > most:
            first, most, since = min(first, step), step, since + (most > -np.inf)
    return [part for part in np.split(rows, np.searchsorted(rows, cuts)) if len(part)]


def _start_of(row: int, step: float, rows: NDArray[np.intp], steps: Floats) -> int:
    """The first row of a step that is written over several rows, of which ``row`` is one."""
    at = int(np.searchsorted(rows, row))
    while at > 0 and steps[rows[at - 1]] <= step:
        at -= 1
    return int(rows[at])


def _series(
    column: RawColumn, name: str, meaning: Meaning, steps: Floats, rows: NDArray[np.intp], source: str
) -> Series:
    own = np.frombuffer(column.rows, dtype=column.rows.typecode)
    inside = (own >= rows[0]) & (own <= rows[-1]) if len(rows) == rows[-1] - rows[0] + 1 else np.isin(own, rows)
    values = np.frombuffer(column.values, dtype=np.float64)[inside]
    # Of a step that was written twice the last value counts: that of the run that was resumed.
    at, last = np.unique(steps[own[inside]][::-1], return_index=True)
    return Series.of_arrays(at, values[::-1][last], name, source).scaled(meaning.scale, meaning.offset)


def _note_texts(columns: Columns, names: Names, engine: str | None, notes: Notes, where: str) -> None:
    for name, column in columns.by_name.items():
        if column.texts and column.text and column.read is number_of and names.meaning(name, engine) is not None:
            for _ in range(column.texts):
                notes.add(
                    f"{name[:80]!r} holds something that is no number: {column.text[0]!r}", f"{where}:{column.text[1]}"
                )


def _explained(
    columns: Columns,
    names: Names,
    engine: str | None,
    chosen: Mapping[str, tuple[str, Meaning]],
    series: Mapping[str, Series],
    source: str,
) -> tuple[Column, ...]:
    told = []
    for name, column in columns.by_name.items():
        meaning = names.meaning(name, engine)
        key = meaning.key if meaning is not None and chosen.get(meaning.key, ("",))[0] == name else None
        broken = series[key].broken if key is not None else None
        told.append(Column(name, key, _why(name, column, meaning, chosen), column.points, broken, source))
    return tuple(told)


def _why(name: str, column: RawColumn, meaning: Meaning | None, chosen: Mapping[str, tuple[str, Meaning]]) -> str:
    if column.read is step_number:
        return "a step"
    if meaning is None:
        return "no name that is known" if column.points else "holds no numbers"
    if not column.points:
        return f"would be {meaning.key}, but holds no numbers"
    taken = chosen[meaning.key][0]
    if taken != name:
        return f"{meaning.key} was taken from {taken}"
    scale = "" if meaning.scale == 1.0 else f", times {meaning.scale:g}"
    scale += f", plus {meaning.offset:g}" if meaning.offset else ""
    return f"{meaning.engine}'s name of {meaning.key}{scale}"


def names_written(courses: Iterable[Course]) -> set[str]:
    """All names in some courses."""
    return {column.name for course in courses for column in course.columns}
