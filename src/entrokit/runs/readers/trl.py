"""TRL (and any `transformers` trainer): ``trainer_state.json`` and the tables of ``log_completions``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ..recording import Recording
from ..row import Row
from ..training_log import Notes

STATE = "trainer_state.json"
COMPLETIONS = "completions"
_NULL_FOR_NAN = ("entropy", "kl")


def newest_state(folder: Path) -> Path | None:
    """The trainer's state that goes furthest: in the folder itself, or in a checkpoint below it."""
    own = folder / STATE
    below = sorted(folder.glob(f"checkpoint-*/{STATE}"), key=lambda f: _steps_of(f.parent.name))
    return own if own.exists() else below[-1] if below else None


def _steps_of(checkpoint: str) -> int:
    number = checkpoint.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def state_recording(file: Path, notes: Notes) -> Recording | None:
    """The log that the trainer's state holds; nothing, and a note, where the file is damaged."""
    try:
        state: Any = json.loads(file.read_text(encoding="utf-8", errors="replace"))
        history = [row for row in state["log_history"] if isinstance(row, dict)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        notes.add(f"it cannot be read: {type(error).__name__}: {str(error)[:120]}", file.name)
        return None
    rows = [Row(_with_nan(row), i) for i, row in enumerate(history, start=1)]
    return Recording("TRL run", file, lambda: iter(rows))


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    """TRL writes null where a mean of these was over nothing but NaN."""
    return row | {name: math.nan for name in _NULL_FOR_NAN if name in row and row[name] is None}


def completion_tables(folder: Path) -> list[Path]:
    """The parquet files that ``log_completions=True`` leaves behind, in order."""
    return sorted((folder / COMPLETIONS).glob("completions_*.parquet"))
