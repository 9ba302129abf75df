"""A row of a log: what it says of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """What a log says of one moment.

    Attributes:
        fields: names as written, to values as written (numbers, texts, bools, None); nested mappings are flattened
            with ``/``. NaN and infinities are values: floats, or the texts that were written.
        number: line or row in its file, from 1.
        step: where the shape itself says it (``step:3 - …``, an event's step); None: it is looked up among the fields.
        run: name of the run where the shape tells (a column ``run``, a W&B panel, a folder); None otherwise.
    """

    fields: Mapping[str, Any]
    number: int
    step: float | None = None
    run: str | None = None
