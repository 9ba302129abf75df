"""TRL (and any `transformers` trainer): ``trainer_state.json`` and the tables of ``log_completions``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..series import Series
from ..training_log import Notes
from .lines import number_of
from .metrics import series_of_rows

STATE = "trainer_state.json"
COMPLETIONS = "completions"


def newest_state(folder: Path) -> Path | None:
    """The trainer's state that goes furthest: in the folder itself, or in a checkpoint below it."""
    own = folder / STATE
    below = sorted(folder.glob(f"checkpoint-*/{STATE}"), key=lambda f: int(f.parent.name.rpartition("-")[2] or 0))
    return own if own.exists() else below[-1] if below else None


def state_series(file: Path, notes: Notes) -> dict[str, Series]:
    """Series of the log that the trainer's state holds; nothing, and a note, where the file is damaged."""
    try:
        state: Any = json.loads(file.read_text(encoding="utf-8", errors="replace"))
        history = state["log_history"]
        rows = [row for row in history if isinstance(row, dict) and number_of(row.get("step")) is not None]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        notes.add(f"it cannot be read: {type(error).__name__}: {str(error)[:120]}", file.name)
        return {}
    return series_of_rows(rows)


def completion_tables(folder: Path) -> list[Path]:
    """The parquet files that ``log_completions=True`` leaves behind, in order."""
    return sorted((folder / COMPLETIONS).glob("completions_*.parquet"))
