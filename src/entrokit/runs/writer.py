"""Writes a run so that nothing already written is ever lost."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .layout import (
    ACCOUNT,
    CHECKPOINT,
    CONFIG,
    EVALUATIONS,
    METRICS,
    NOT_FINITE,
    ROLLOUT_COLUMNS,
    ROLLOUTS,
    rollouts_file,
    step_of,
)
from .whole import partial_of, replace_file, replace_folder, settle_folder


class RunWriteError(OSError):
    """A file of a run could not be written; what was written before it is whole."""


class RunWriter:
    """Creates a run's folder and fills it. Every method leaves whole files behind, or raises `RunWriteError`.

    Args:
        folder: where; created with its parents.
        config: what was asked for, as plain Python values.

    Raises:
        FileExistsError: the folder already holds a run.
        RunWriteError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.refuse_taken(self.folder)
        self._start = time.monotonic()
        self._guarded(self.folder, self._make_folders)
        text = yaml.safe_dump(dict(config), sort_keys=False)
        self._replace(self.folder / CONFIG, lambda partial: partial.write_text(text, encoding="utf-8"))

    @staticmethod
    def refuse_taken(folder: str | Path) -> None:
        """Raises FileExistsError where a folder already holds a run."""
        if (Path(folder) / CONFIG).exists():
            raise FileExistsError(f"{folder} already holds a run, which is never overwritten; choose another folder")

    @classmethod
    def reopen(cls, folder: str | Path, step: int) -> RunWriter:
        """Goes on with a run after an optimiser step: what was written of later steps is taken back.

        Raises:
            RunWriteError: the folder cannot be written.
        """
        writer = cls.__new__(cls)
        writer.folder = Path(folder)
        writer._settle()
        kept = writer._keep_lines(METRICS, lambda row: row["step"] <= step)
        writer._keep_lines(ACCOUNT, lambda row: row["step"] < step)
        writer._start = time.monotonic() - (kept[-1].get("seconds", 0.0) if kept else 0.0)
        # A generation batch is named by the step that it was made before: that of `step` itself is still to come.
        late = [f for name in (ROLLOUTS, EVALUATIONS) for f in (writer.folder / name).glob("step-*.parquet")]
        for file in late:
            if step_of(file) >= max(step, 1):
                writer._guarded(file, file.unlink)
        return writer

    def _keep_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Takes lines back from a file of one JSON object a line, a half-written last one among them."""
        file, kept = self.folder / name, []
        if not file.exists():
            return []
        for line in file.read_bytes().split(b"\n")[:-1]:
            try:
                row = json.loads(line)
                if keep(row):
                    kept.append(row)
            except (ValueError, KeyError, TypeError):
                break
        text = "".join(json.dumps(row) + "\n" for row in kept)
        self._replace(file, lambda partial: partial.write_text(text, encoding="utf-8"))
        return kept

    def _make_folders(self) -> None:
        for name in (ROLLOUTS, EVALUATIONS):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line. What is not finite is kept as null, and named (`layout`).

        A line that could not be finished is taken back, so that the file stays readable.
        """
        row: dict[str, Any] = {"step": step, "seconds": round(time.monotonic() - self._start, 3)}
        row |= {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        broken = {name: str(float(value)) for name, value in values.items() if not math.isfinite(value)}
        line = json.dumps(row | ({NOT_FINITE: broken} if broken else {}))
        file = self.folder / METRICS
        size = file.stat().st_size if file.exists() else 0
        try:
            with file.open("ab", buffering=0) as out:
                data = (line + "\n").encode()
                if out.write(data) != len(data):
                    raise OSError("the line was cut short")
        except OSError as error:
            if file.exists():
                os.truncate(file, size)
            raise _explained(file, error) from error

    def rollouts(self, step: int, columns: Mapping[str, Sequence[Any]], *, evaluation: bool = False) -> None:
        """Writes the completions of one generation batch, or of an evaluation on held-out prompts.

        Columns as in `layout.ROLLOUT_COLUMNS`; others, or missing ones, are a `ValueError`.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if set(columns) != set(ROLLOUT_COLUMNS):
            raise ValueError(f"rollouts: expected the columns {list(ROLLOUT_COLUMNS)}, got {list(columns)}")
        table = pa.table({name: list(columns[name]) for name in ROLLOUT_COLUMNS})
        file = rollouts_file(self.folder, step, EVALUATIONS if evaluation else ROLLOUTS)
        self._replace(file, lambda partial: pq.write_table(table, partial))

    def checkpoint(self, save: Callable[[Path], object]) -> Path:
        """Replaces the checkpoint by what ``save(folder)`` writes into an empty folder; returns where it lies."""
        final = self.folder / CHECKPOINT
        self._guarded(final, lambda: replace_folder(final, save))
        return final

    def _replace(self, file: Path, write: Callable[[Path], object]) -> None:
        self._guarded(file, lambda: replace_file(file, write))

    def _settle(self) -> None:
        """Clears away what a kill left half-written."""
        checkpoint = self.folder / CHECKPOINT
        self._guarded(checkpoint, lambda: settle_folder(checkpoint))
        for place in (self.folder, self.folder / ROLLOUTS, self.folder / EVALUATIONS):
            for file in place.glob(partial_of(place / "*").name):
                self._guarded(file, file.unlink)

    @staticmethod
    def _guarded(file: Path, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            raise _explained(file, error) from error


def _explained(file: Path, error: OSError) -> RunWriteError:
    return RunWriteError(
        f"could not write {file}: {error.strerror or error}; everything written before is intact. "
        "Free space or choose another folder, and start again"
    )
