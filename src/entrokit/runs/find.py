"""What lies in a folder: files of a run, and folders below that hold runs. Links are not followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .layout import CONFIG
from .readers.trl import STATE

# Deep enough for outputs/project/run/checkpoint; a folder of models or data is not searched to its end.
_DEPTH, _MOST_ENTRIES = 4, 20_000
# Of the run in the folder above: what trainers save, and what trackers write beside them.
_PARTS_OF_A_RUN = ("checkpoint", "global_step_", "wandb", "mlruns", "swanlog", "rollouts", "completions", ".")
_LOGS = (".log", ".jsonl", ".ndjson", ".csv", ".tsv", ".wandb", ".out", ".err")


def files_of(folder: Path) -> list[Path]:
    """A folder's own files, in order of their names."""
    try:
        return sorted(f for f in folder.iterdir() if f.is_file())
    except OSError:
        return []


def run_folders_below(folder: Path) -> list[Path]:
    """The folders below that look as if they held a run, in order, themselves not searched further."""
    found: list[Path] = []
    seen = 0

    def search(place: Path, depth: int) -> None:
        nonlocal seen
        for entry in _entries(place):
            seen += 1
            if seen > _MOST_ENTRIES:
                return
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(_PARTS_OF_A_RUN):
                below = Path(entry.path)
                if _holds_a_run(below):
                    found.append(below)
                elif depth < _DEPTH:
                    search(below, depth + 1)

    search(folder, 1)
    return found


def _holds_a_run(folder: Path) -> bool:
    names = [entry.name for entry in _entries(folder)]
    checkpoints = [n for n in names if n.startswith("checkpoint-")]
    return (
        CONFIG in names
        or STATE in names
        or any((folder / n / STATE).exists() for n in checkpoints)
        or any(n.endswith(_LOGS) or ".tfevents." in n for n in names)
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda e: e.name)
    except OSError:
        return
