"""What a log says of one moment, before anybody has said what its names mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """Names as they were written, and their values.

    Attributes:
        fields: names to values: numbers, texts, bools or None, NaN and infinity among them. What was nested is
            flattened with ``/``.
        number: line or row in its file, from 1.
        step: where the shape itself says it (``step:3 - …``); None: it is looked up among the fields.
        run: the run's name where the shape tells it (a column ``run``, a W&B panel); None otherwise.
    """

    fields: Mapping[str, Any]
    number: int
    step: float | None = None
    run: str | None = None
