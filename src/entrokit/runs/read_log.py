"""From a path to a `TrainingLog`: recognises what it is, and reads all that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from .layout import ACCOUNT
from .names import canonical
from .reader import RunReadError
from .readers.completions import completions_of
from .readers.entrokit_run import is_run, read_run
from .readers.lines import json_objects
from .readers.metrics import SeriesBuilder, step_of_row
from .readers.parquet import parquet_completions
from .readers.table import read_table
from .readers.tensorboard import event_series, is_event_file
from .readers.trl import STATE, completion_tables, newest_state, state_series
from .readers.verl import console_series, is_rollout_dump, jsonl_completions
from .series import Series
from .training_log import Completion, Notes, TrainingLog

_TABLES, _LINES, _CONSOLES = (".csv", ".tsv"), (".jsonl", ".ndjson"), (".log", ".txt", ".out")
_PEEKED = 20


def read_log(path: str | Path) -> TrainingLog:
    """Reads a run of whichever engine.

    Args:
        path: an entrokit run's folder, a TRL output folder or ``trainer_state.json``, a folder or file of verl's logs
            and rollout dumps, TensorBoard event files, a CSV, a JSONL of metrics or of rollouts, or a folder of these.

    Raises:
        RunReadError: nothing there, or nothing in it is recognised; the message says what would be.
        ImportError: TensorBoard's files without the extra ``tensorboard``.
    """
    where = Path(path)
    if not where.exists():
        raise RunReadError(f"{where} does not exist")
    if where.is_dir() and is_run(where):
        return read_run(where)
    notes = Notes()
    files = sorted(f for f in where.iterdir() if f.is_file()) if where.is_dir() else [where]
    found: dict[str, Series] = {}
    sources: list[str] = []
    streams: list[partial[Iterator[Completion]]] = []

    def take(source: str, series: dict[str, Series], file: Path) -> None:
        if not series:
            return
        sources.append(source)
        if found.keys() & series.keys():
            notes.add("several files hold the same metrics: those of the first were taken; name one file", file.name)
        found.update({name: s for name, s in series.items() if name not in found})

    state = newest_state(where) if where.is_dir() else where if where.name == STATE else None
    if state is not None:
        take("TRL run", state_series(state, notes), state)
    tables = completion_tables(where) if where.is_dir() else []
    tables = tables or [f for f in files if f.suffix == ".parquet"]
    if tables:
        sources.append("completions in parquet")
        streams.append(partial(parquet_completions, tables, notes))
    dumps = [f for f in files if is_rollout_dump(f)] if where.is_dir() else []
    if dumps:
        sources.append("verl rollouts")
        streams.append(partial(jsonl_completions, sorted(dumps, key=lambda f: int(f.stem)), notes))
    for file in files:
        if file in dumps or file.name == ACCOUNT or is_event_file(file) or file.suffix in (".parquet", ".json"):
            continue
        if file.suffix in _LINES:
            series, holds_completions = _jsonl(file, notes)
            take("JSONL of metrics", series, file)
            if holds_completions:
                sources.append("JSONL of rollouts")
                streams.append(partial(jsonl_completions, [file], notes))
        elif file.suffix in _CONSOLES:
            take("verl console log", console_series(file, notes), file)
        elif file.suffix in _TABLES or not where.is_dir():
            take("table", read_table(file, notes), file)
    events = [f for f in (where.rglob("*") if where.is_dir() else [where]) if is_event_file(f)]
    if events and "entropy" not in found:
        take("TensorBoard", event_series(events, notes), events[0])
    if not sources:
        raise RunReadError(_unknown(where, notes))
    account = where / ACCOUNT
    return TrainingLog(
        where,
        " and ".join(dict.fromkeys(sources)),
        found,
        {},
        partial(_all, streams),
        account if where.is_dir() and account.exists() else None,
        notes,
    )


def _all(streams: Sequence[partial[Iterator[Completion]]]) -> Iterator[Completion]:
    return chain.from_iterable(stream() for stream in streams)


def _jsonl(file: Path, notes: Notes) -> tuple[dict[str, Series], bool]:
    """Series of a file's lines of metrics, and whether lines of it are rollouts.

    A file whose first lines are all rollouts is not read further here: it may be huge.
    """
    first = list(islice(json_objects(file, Notes()), _PEEKED))
    rollouts = [_is_rollout(row) for _, row in first]
    if rollouts and all(rollouts):
        return {}, True
    builder = SeriesBuilder()
    for i, (_, row) in enumerate(json_objects(file, notes)):
        data = row.get("data")
        metrics: dict[str, Any] = data if isinstance(data, dict) else row
        step = step_of_row(row)
        if step is None:
            step = step_of_row(metrics)
        if not _is_rollout(row) and any(canonical(str(name)) for name in metrics):
            builder.add(float(i) if step is None else step, metrics)
    return builder.series(), any(rollouts)


def _is_rollout(row: dict[str, Any]) -> bool:
    try:
        return next(completions_of(row), None) is not None
    except (KeyError, TypeError, ValueError):
        return False


def _unknown(where: Path, notes: Notes) -> str:
    said = "; ".join(notes.lines())
    below = sorted(f.name for f in where.iterdir() if f.is_dir() and is_run(f)) if where.is_dir() else []
    if below:
        return f"{where} holds {len(below)} runs; name one of them: {', '.join(below[:5])}{', …' if below[5:] else ''}"
    return (
        f"{where}: nothing in it is recognised{f' ({said})' if said else ''}. Readable are an entrokit run "
        "(config.yaml), a TRL output folder (trainer_state.json, completions/*.parquet), verl's file logger, console "
        "log or rollout dumps, TensorBoard event files, and a CSV or JSONL with step, reward and entropy"
    )
