"""From a path to what any engine wrote there: recognises what it is, and reads all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from .courses import Course, courses_of, names_written
from .find import run_folders_below
from .found import Found, found_in
from .grouping import Group, runs_of
from .layout import METRICS
from .names import Names
from .reader import RunReadError
from .readers.entrokit_run import is_run, read_run
from .recording import Recording
from .series import Series
from .training_log import Column, Completion, Kind, Notes, TrainingLog
from .unread import what_is_there

# Folders below that are read when none was named; of more one has to be named.
_MOST_FOLDERS = 20
_SHOWN = 6
_OF_REWARDS = ("reward", "accuracy", "advantage", "zero_variance", "truncated", "clip_share", "kl", "sampler_")
_OF_SUPERVISED = ("loss", "eval_loss", "token_accuracy")


def read_log(path: str | Path, names: Mapping[str, str] | None = None) -> TrainingLog:
    """Reads a run of whichever engine; where several lie there, the one that `read_logs` puts first.

    Args:
        path: a file or a folder: an engine's or a tracker's log, a console's output, a table, rollouts, or a folder of
            these. names: columns by hand, quantity to name as written, e.g. ``{"entropy": "my/metric"}``.

    Raises:
        RunReadError: nothing there, or nothing in it is recognised; the message says what was found instead.
        ValueError: ``names`` has a quantity that does not exist.
        MissingExtraError: a tracker's files whose own library is needed and is not installed.
    """
    return read_logs(path, names)[0]


def read_logs(path: str | Path, names: Mapping[str, str] | None = None) -> list[TrainingLog]:
    """Reads all runs in a file or folder: the one to judge first.

    Of runs below each other in one log that is the last one, of experiments beside each other the one that began last,
    or the longest, and of a folder its own before those in folders below. Arguments and errors as in `read_log`; a
    column that was named by hand and is not there is a `RunReadError` too.
    """
    lookup = Names.load() if names is None else Names.load().with_user(names)
    logs = _all_in(_checked(path), lookup)
    for key, name in (names or {}).items():
        if not any(lookup.by_hand(c.name) and c.key == key for log in logs for c in log.columns):
            raise RunReadError(f"{path}: there is no column {name!r} to take for {key}; --explain lists all that are")
    return logs


def _checked(path: str | Path) -> Path:
    """The path of a run: of entrokit's own, its folder.

    Raises:
        RunReadError: nothing is there that could be read.
    """
    if str(path) == "":
        raise RunReadError("the path is empty: name a run's folder or one of its logs")
    where = Path(path)
    if not where.exists():
        raise RunReadError(f"{where} does not exist")
    if not (where.is_file() or where.is_dir()):
        raise RunReadError(f"{where} is a pipe or a device: write what it gives to a file, and name that")
    return where.parent if where.name == METRICS and is_run(where.parent) else where


def _all_in(where: Path, names: Names) -> list[TrainingLog]:
    """The runs of a file or folder, those of a folder itself before those in folders below."""
    if where.is_dir() and is_run(where):
        return [read_run(where, names)]
    notes = Notes()
    found = found_in(where, notes)
    logs = _logs(where, found, names, notes)
    read = {place for recording in found.recordings for place in (recording.where, recording.where.parent)}
    if logs:
        read |= found.parts
    below = [folder for folder in run_folders_below(where) if folder not in read] if where.is_dir() else []
    if len(below) <= _MOST_FOLDERS:
        if logs and below and logs[0].run is None:
            logs = [_named(logs[0], f"{where.resolve().name} itself"), *logs[1:]]
        logs += _of_folders(where, below, names, logs)
    elif logs:
        notes.add(f"{len(below)} folders below look like runs and were not read: name one of them", where.name)
    if not logs:
        raise RunReadError(what_is_there(where, found, below, names, notes))
    return logs


def _of_folders(where: Path, below: Sequence[Path], names: Names, above: Sequence[TrainingLog]) -> list[TrainingLog]:
    """The runs in folders below, those with most points first; what cannot be read is told by the first run of all."""
    logs, refused = [], []
    for folder in below:
        try:
            logs += [_named(log, str(folder.relative_to(where))) for log in _all_in(folder, names)]
        except RunReadError as error:
            refused.append((folder, str(error)))
    first = [*above, *logs][:1]
    if not first and refused:
        raise RunReadError(refused[0][1])
    for folder, why in refused:
        first[0].notes.add(f"a folder below could not be read: {why}", folder.name)
    if len(logs) == 1 and not above:
        logs[0].notes.add("the run was read in a folder below", logs[0].run)
    return sorted(logs, key=lambda log: -max((len(s) for s in log.series.values()), default=0))


def _named(log: TrainingLog, name: str) -> TrainingLog:
    return replace(log, run=name if log.run is None else f"{name}: {log.run}")


def _logs(where: Path, found: Found, names: Names, notes: Notes) -> list[TrainingLog]:
    courses = [course for recording in found.recordings for course in _courses(recording, where, names, notes)]
    groups = runs_of(course for course in courses if course.series)
    if not groups and not found.completions:
        return []
    groups = groups or [Group()]
    several = len(groups) > 1
    return [
        _log(where, group, found, names, notes if i == 0 else Notes(), first=i == 0, several=several)
        for i, group in enumerate(groups)
    ]


def _courses(recording: Recording, where: Path, names: Names, notes: Notes) -> list[Course]:
    """The runs in a recording; of a folder's files one that is gone or closed to us hides no other."""
    try:
        return courses_of(recording, names, notes)
    except OSError as error:
        if not where.is_dir():
            raise
        notes.add(f"it cannot be read: {error.strerror}", recording.where.name)
        return []


def _log(
    where: Path, group: Group, found: Found, names: Names, notes: Notes, *, first: bool, several: bool
) -> TrainingLog:
    """One run's log; completions that lie beside several runs are taken for those of the first."""
    series = group.series
    columns: tuple[Column, ...] = tuple(chain.from_iterable(course.columns for course in group.courses))
    sources = [course.source for course in group.courses]
    streams = found.completions if first else []
    if streams and several:
        notes.add("completions lie beside several runs and are taken for this one's", where.name)
    engine = names.engine_of(names_written(group.courses))
    if first:
        files = dict.fromkeys(course.where.name for course in group.courses)
        alone = [c for c in group.courses[1:] if not c.series.keys() & group.courses[0].series.keys()]
        if len(files) > 1 and alone:
            notes.add("read together as one run: " + ", ".join(list(files)[:_SHOWN]), where.name)
    source = " and ".join(dict.fromkeys([*sources, *(found.kinds if first else [])]))
    title = names.title(engine)
    config: dict[str, object] = {}
    for course in reversed(group.courses):
        config.update(course.config)
    return TrainingLog(
        where,
        f"{title}, {source}" if sources and title is not None and title not in " ".join(sources) else source,
        series,
        config,
        partial(_all, streams),
        found.account if first else None,
        notes,
        engine,
        kind_of(series, rollouts=bool(streams)),
        columns,
        _name_of(group) if several else None,
    )


def kind_of(series: Mapping[str, Series], *, rollouts: bool = False) -> Kind:
    """Whether a run learns from rewards, or from texts: then its loss, a mean of −log p, is never below 0."""
    if rollouts or any(key.startswith(_OF_REWARDS) for key in series):
        return "rl"
    loss = series.get("loss")
    if loss is not None and len(loss) and float(loss.values.min()) < 0.0:
        return "unknown"
    return "supervised" if any(key in series for key in _OF_SUPERVISED) else "unknown"


def _name_of(group: Group) -> str:
    first = group.courses[0]
    name = first.run or first.where.name
    starts = [float(s.steps[0]) for s in first.series.values() if len(s)]
    ends = [float(s.steps[-1]) for s in first.series.values() if len(s)]
    span = f", steps {min(starts):g} to {max(ends):g}" if starts else ""
    return f"{name} (run {first.part + 1}{span})" if first.part or first.run is None else name


def _all(streams: Sequence[partial[Iterator[Completion]]]) -> Iterator[Completion]:
    return chain.from_iterable(stream() for stream in streams)
