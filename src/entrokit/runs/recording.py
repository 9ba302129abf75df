"""What a reader makes of one file or store: rows, and what is known of the run around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .row import Row


@dataclass(frozen=True)
class Recording:
    """One run's record in one place.

    Attributes:
        source: how it was recognised, e.g. ``verl console log``. where: file or folder.
        rows: opens the stream of rows; it can be opened again.
        config: hyperparameters, where they are written down. run: the run's name. began: Unix seconds.
    """

    source: str
    where: Path
    rows: Callable[[], Iterator[Row]]
    config: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    began: float | None = None
