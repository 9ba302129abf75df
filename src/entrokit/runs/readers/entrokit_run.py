"""entrokit's own runs (`layout`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..layout import ACCOUNT, CONFIG, EVALUATIONS, METRICS, ROLLOUTS, step_of
from ..reader import Run
from ..training_log import Completion, Notes, TrainingLog
from .lines import json_objects
from .metrics import series_of_rows
from .parquet import parquet_completions


def is_run(folder: Path) -> bool:
    return (folder / CONFIG).exists()


def read_run(folder: Path) -> TrainingLog:
    """A run's series and rollouts. Damaged lines of its metrics are left out, and noted.

    Raises:
        RunReadError: no readable config.
    """
    notes = Notes()
    config = Run.config_of(folder)
    file = folder / METRICS
    rows = (row for _, row in json_objects(file, notes)) if file.exists() else iter(())
    if not file.exists():
        notes.add("there are no metrics", METRICS)
    account = folder / ACCOUNT
    return TrainingLog(
        folder,
        "entrokit run",
        series_of_rows(row for row in rows if not any(str(k).startswith("eval_") for k in row)),
        config,
        partial(_completions, folder, notes),
        account if account.exists() else None,
        notes,
    )


def evaluations(folder: Path, notes: Notes) -> Iterator[Completion]:
    """The completions of the first and the last evaluation on held-out prompts."""
    files = sorted((folder / EVALUATIONS).glob("step-*.parquet"))
    for file in dict.fromkeys([*files[:1], *files[-1:]]):
        for completion in parquet_completions([file], notes):
            yield replace(completion, step=float(step_of(file)))


def _completions(folder: Path, notes: Notes) -> Iterator[Completion]:
    return parquet_completions(sorted((folder / ROLLOUTS).glob("step-*.parquet")), notes)
