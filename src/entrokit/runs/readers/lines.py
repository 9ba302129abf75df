"""Lines of files that may be huge, cut off, or not text at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..training_log import Notes

# No completion's line is longer; without a limit one endless line would be read into memory.
LONGEST_LINE = 1 << 26


def text_lines(file: Path, notes: Notes) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends, one at a time. Bytes that are not UTF-8 are replaced, and noted.

    A last line without its end is given like any other: only its reader can tell whether it is whole.
    """
    with file.open("rb") as source:
        number, skipping = 0, False
        while line := source.readline(LONGEST_LINE):
            ended = line.endswith(b"\n")
            if skipping:
                skipping = not ended
                continue
            number += 1
            if not ended and len(line) == LONGEST_LINE:
                notes.add(f"a line is longer than {LONGEST_LINE >> 20} MiB and is left out", f"{file.name}:{number}")
                skipping = True
                continue
            yield number, _decoded(line.rstrip(b"\r\n"), file, number, notes)


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


def number_of(value: Any) -> float | None:
    """A value as a number, if it is one: ``true`` and ``false`` and texts that hold one included."""
    if value is None or isinstance(value, (list, dict)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _decoded(line: bytes, file: Path, number: int, notes: Notes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        notes.add("bytes that are not UTF-8 were replaced", f"{file.name}:{number}")
        return line.decode("utf-8", errors="replace")
