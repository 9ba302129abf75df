"""entrokit's own runs (`layout`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..courses import courses_of
from ..layout import ACCOUNT, CONFIG, EVALUATIONS, METRICS, ROLLOUTS, step_of
from ..names import Names
from ..reader import Run, with_not_finite
from ..recording import Recording
from ..row import Row
from ..training_log import Completion, Notes, TrainingLog
from .lines import json_objects
from .parquet import parquet_completions


def is_run(folder: Path) -> bool:
    return (folder / CONFIG).exists()


def read_run(folder: Path, names: Names) -> TrainingLog:
    """A run's series and rollouts. Damaged lines of its metrics are left out, and noted.

    Raises:
        RunReadError: no readable config.
    """
    notes = Notes()
    config = Run.config_of(folder)
    file = folder / METRICS
    if not file.exists():
        notes.add("there are no metrics", METRICS)
    recording = Recording("entrokit run", file, partial(_rows, file, notes), config)
    # A run that is resumed takes back what it wrote of later steps: there is one course.
    course = next(iter(courses_of(recording, names, notes)), None)
    account = folder / ACCOUNT
    return TrainingLog(
        folder,
        "entrokit run",
        {} if course is None else course.series,
        config,
        partial(_completions, folder, notes),
        account if account.exists() else None,
        notes,
        "entrokit",
        "rl",
        () if course is None else course.columns,
    )


def _rows(file: Path, notes: Notes) -> Iterator[Row]:
    """The lines of metrics of training, with what was not finite where it was written."""
    for number, row in json_objects(file, notes) if file.exists() else ():
        if not any(str(name).startswith("eval_") for name in row):
            yield Row(with_not_finite(row), number)


def evaluations(folder: Path, notes: Notes) -> Iterator[Completion]:
    """The completions of the first and the last evaluation on held-out prompts."""
    files = sorted((folder / EVALUATIONS).glob("step-*.parquet"))
    for file in dict.fromkeys([*files[:1], *files[-1:]]):
        for completion in parquet_completions([file], notes):
            yield replace(completion, step=float(step_of(file)))


def _completions(folder: Path, notes: Notes) -> Iterator[Completion]:
    return parquet_completions(sorted((folder / ROLLOUTS).glob("step-*.parquet")), notes)
