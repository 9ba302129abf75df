"""A recording: what a reader of a file or of a tracker's store gives of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .row import Row


@dataclass(frozen=True)
class Recording:
    """What one file or store holds of one run.

    Attributes:
        source: how it was recognised: ``W&B's local file``, ``verl console log``.
        where: the file or folder.
        rows: opens the stream of rows; it can be opened again. Never the whole of them in memory.
        config: hyperparameters where the store has them, flat or nested as written.
        run: its name. began: unix seconds, where known.
    """

    source: str
    where: Path
    rows: Callable[[], Iterator[Row]]
    config: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    began: float | None = None
