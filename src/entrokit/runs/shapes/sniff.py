"""Which shape a file has, by what it holds: ``train.log`` may be JSON lines, ``.txt`` a pasted table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recording import Recording
from ..row import Row
from ..training_log import Notes
from .console import console_rows
from .grid import table_of
from .json_text import json_document_rows, json_line_rows
from .lines import parse_line
from .tables import first_lines, table_rows
from .text import binary_kind

JSON_LINES, JSON_DOCUMENT, TABLE, CONSOLE = "JSON lines", "JSON document", "table", "console log"

_DOCUMENT = re.compile(r"\s*(?:\[\s*(?:[\[{\]]|$)|\{\s*(?:[\"}]|$))")
_MOST_LOOKED_AT = 400
_OF_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Sniffed:
    """What a file was found to be.

    Attributes:
        shape: one of the four; None where the file holds no text. why: what it is instead, or how it was told.
    """

    shape: str | None
    why: str


def sniffed(file: Path) -> Sniffed:
    """The shape of a file by its first 256 KiB, and how it was told.

    Any text that is no table and no JSON is a console log, as metrics may begin late in one: whether it holds any
    is told by reading it.

    Raises:
        OSError: the file cannot be opened.
    """
    with file.open("rb") as source:
        head = source.read(4096)
    if not head:
        return Sniffed(None, "empty")
    if kind := binary_kind(head):
        return Sniffed(None, kind)
    lines = [line for line in first_lines(file) if line.strip()][:_MOST_LOOKED_AT]
    if not lines:
        return Sniffed(None, "empty")
    objects = [found for line in lines if (found := _object(line)) is not None]
    # One object that holds lists is a whole run in one line.
    whole_run = len(objects) == 1 and _holds_columns(objects[0])
    if objects and (2 * len(objects) >= len(lines) or file.suffix in _OF_LINES) and not whole_run:
        return Sniffed(JSON_LINES, f"{len(objects)} of its first {len(lines)} lines are JSON objects")
    if _DOCUMENT.match(lines[0]) and _is_document("\n".join(lines)):
        return Sniffed(JSON_DOCUMENT, "it begins as a JSON document")
    rows = sum(parse_line(line) is not None for line in lines)
    table = table_of(lines) if 4 * rows < len(lines) else None
    if table and (table[1] == 1 or not rows):
        return Sniffed(TABLE, f"a header, and cells parted by {table[0]!r}")
    return Sniffed(CONSOLE, f"{rows} of its first {len(lines)} lines hold metrics")


def shape_of(file: Path) -> str | None:
    """The shape of a file by its first 256 KiB; None where it holds no text (`sniffed` says what it is).

    Raises:
        OSError: the file cannot be opened.
    """
    return sniffed(file).shape


_READERS: dict[str, Callable[[Path, Notes], Iterator[Row]]] = {
    JSON_LINES: json_line_rows,
    JSON_DOCUMENT: json_document_rows,
    TABLE: table_rows,
    CONSOLE: console_rows,
}


def rows_of(file: Path, notes: Notes) -> Recording | None:
    """The rows of a text file of any shape, which stream each time they are opened; None, and a note, for other files.

    Raises:
        OSError: the file cannot be opened.
    """
    found = sniffed(file)
    if found.shape is None:
        notes.add(f"it holds no text that could be read: {found.why}", file.name)
        return None
    reader = _READERS[found.shape]
    return Recording(source=found.shape, where=file, rows=lambda: reader(file, notes))


def _object(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _holds_columns(found: dict[str, Any]) -> bool:
    held = found.values()
    return any(isinstance(value, list) and len(value) > 1 for value in held) or all(
        isinstance(value, dict) and value and all(str(key).isdigit() for key in value) for value in held
    )


def _is_document(text: str) -> bool:
    """Whether a text is JSON, or could be if it went on: what is cut there fails at its very end."""
    try:
        json.JSONDecoder().raw_decode(text.lstrip())
    except json.JSONDecodeError as error:
        # A head that stops within a string fails where that began.
        return error.pos >= len(text.lstrip().rstrip()) - 2 or "Unterminated" in error.msg
    except (ValueError, RecursionError):
        return False
    return True
