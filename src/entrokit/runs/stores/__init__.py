"""Local stores of trackers, a module each: ``is_store(path)``, cheap, and ``recordings(path, notes)``, a run each.

``is_store`` looks at names, markers and first bytes, imports no tracker's library and raises nothing. ``recordings``
raises `RunReadError` where a file that was named cannot be read at all, and `MissingExtraError` where it takes an
extra; whatever else is wrong is told in the notes, some of it only while rows are read.
"""

from __future__ import annotations

from pathlib import Path

from entrokit.extras import MissingExtraError

from ..reader import RunReadError
from ..recording import Recording
from ..training_log import Notes
from . import mlflow, swanlab, tensorboard, trackio, wandb

_STORES = (wandb, trackio, mlflow, swanlab, tensorboard)


def is_store(path: Path) -> bool:
    """Whether a file or folder is some tracker's."""
    return any(store.is_store(path) for store in _STORES)


def recordings_of(path: Path, notes: Notes) -> list[Recording]:
    """The runs in a tracker's file, or in all trackers' files of a folder.

    In a folder, what cannot be read is left out and noted: a run's own log may lie beside it.

    Raises:
        RunReadError: a file that was named cannot be read. MissingExtraError: reading it takes an extra.
    """
    found: list[Recording] = []
    for store in _STORES:
        if not store.is_store(path):
            continue
        try:
            found += store.recordings(path, notes)
        except (MissingExtraError, RunReadError) as error:
            if not path.is_dir():
                raise
            notes.add(str(error), path.name)
    return found
