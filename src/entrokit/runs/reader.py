"""Reads runs that `RunWriter` wrote, finished or not."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .layout import CONFIG, EVALUATIONS, METRICS, NOT_FINITE, ROLLOUTS, rollouts_file, step_of

logger = logging.getLogger(__name__)


class RunReadError(ValueError):
    """A folder holds no readable run; the message names the file."""


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        folder: where it lies.
        config: ``config.yaml``.
        metrics: the complete lines of ``metrics.jsonl``, in order; what was not finite is NaN or infinity again.
    """

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, float]]

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Reads a run's config and metrics; rollouts are read when asked for.

        A last line without its end (a run still being written, or cut off) is left out.

        Raises:
            RunReadError: no config, or a damaged line, named by file and line number.
        """
        folder = Path(folder)
        return cls(folder, cls.config_of(folder), _read_metrics(folder / METRICS))

    @staticmethod
    def config_of(folder: Path) -> dict[str, Any]:
        """``config.yaml`` of a run's folder.

        Raises:
            RunReadError: there is none, or it is damaged.
        """
        file = folder / CONFIG
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunReadError(f"{folder} holds no run: there is no {CONFIG}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunReadError(f"{file} is not YAML: {error}") from error
        if not isinstance(config, dict):
            raise RunReadError(f"{file}: expected a mapping, got {type(config).__name__}")
        return config

    @property
    def name(self) -> str:
        return str(self.config.get("recipe", self.folder.name))

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps at which a metric was a finite number, and its values."""
        points = [
            (int(row["step"]), float(row[name])) for row in self.metrics if math.isfinite(row.get(name, math.nan))
        ]
        return [s for s, _ in points], [v for _, v in points]

    def rollout_steps(self, *, evaluation: bool = False) -> list[int]:
        """Steps whose completions were written, in order."""
        folder = self.folder / (EVALUATIONS if evaluation else ROLLOUTS)
        return sorted(step_of(f) for f in folder.glob("step-*.parquet"))

    def rollouts(self, step: int, *, evaluation: bool = False) -> list[dict[str, Any]]:
        """The completions of one generation batch, or of an evaluation, one dict a row (`layout.ROLLOUT_COLUMNS`).

        Raises:
            RunReadError: no file for that step, or a damaged one.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = rollouts_file(self.folder, step, EVALUATIONS if evaluation else ROLLOUTS)
        try:
            rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        except FileNotFoundError:
            raise RunReadError(
                f"{file} does not exist; steps written: {self.rollout_steps(evaluation=evaluation)}"
            ) from None
        except pa.ArrowInvalid as error:
            raise RunReadError(f"{file} is damaged: {error}") from error
        return rows


def find_runs(folder: str | Path) -> list[Run]:
    """The run in a folder, or the runs in its subfolders, in the order in which they began.

    Raises:
        RunReadError: there is none.
    """
    folder = Path(folder)
    if (folder / CONFIG).exists():
        return [Run.load(folder)]
    began = sorted(folder.rglob(CONFIG), key=lambda file: (file.stat().st_mtime, file))
    found = [Run.load(file.parent) for file in began]
    if not found:
        raise RunReadError(f"{folder} holds no runs: neither it nor a folder below it has a {CONFIG}")
    return found


def _read_metrics(file: Path) -> list[dict[str, float]]:
    if not file.exists():
        return []
    *lines, rest = file.read_bytes().split(b"\n")
    if rest:
        logger.warning("%s: the last line is incomplete and is left out", file)
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "step" not in row:
                raise ValueError("expected an object with a step")
        except ValueError as error:
            raise RunReadError(f"{file}, line {number}: {error}") from error
        rows.append(with_not_finite(row))
    return rows


def with_not_finite(row: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics whose nulls are what they stand for: NaN, or infinity."""
    said = row.get(NOT_FINITE)
    if not isinstance(said, dict):
        return row
    known = {name: float(value) for name, value in said.items() if value in ("nan", "inf", "-inf")}
    return {name: value for name, value in row.items() if name != NOT_FINITE} | known
