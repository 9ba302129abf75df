"""JSON objects, one a line, of files that may be huge, cut off, or not text at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..shapes.text import text_lines
from ..training_log import Notes


def json_objects(file: Path, notes: Notes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file with one a line. What is none is left out, and noted."""
    for number, line in text_lines(file, notes):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            notes.add("a line is not JSON (cut off while it was written?) and is left out", f"{file.name}:{number}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            notes.add(f"a line is a JSON {type(row).__name__}, not an object, and is left out", f"{file.name}:{number}")
