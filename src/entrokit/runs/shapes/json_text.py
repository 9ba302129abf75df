"""JSON as text: an object a line, or one document (rows, columns, or points by name), or several one after the other.

{"step": 1, "reward": 0.4}                                  an object a line, nested or not
{"step": 1, "data": {"actor/entropy": 0.5}}                 verl's file logger
[{"step": 1, …}, …]   {"log_history": [{…}, …]}             a list of rows; transformers' trainer_state.json
{"step": [1, 2], "reward": [0.4, 0.5]}                      columns
{"reward": [[1, 0.4], [2, 0.5]]}   [[wall, step, value], …] points; TensorBoard's JSON
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..row import Row
from ..training_log import Notes
from .literal import flattened
from .text import encoding_of, text_lines
from .trackers import long_columns, tensorboard_tag

# A document is read whole; its objects take several times its size.
LARGEST_DOCUMENT = 1 << 28

_ROWS = ("log_history", "history", "rows", "records", "logs", "metrics", "data", "steps", "log")
_WRAPPERS = ("data", "metrics", "logs", "log", "scalars", "values")
_DECODER = json.JSONDecoder()


def json_line_rows(file: Path, notes: Notes) -> Iterator[Row]:
    """The objects of a file with one a line, what is nested joined by ``/``. Streams.

    What is no JSON object is left out, and noted; so are lists of several numbers.
    """
    for number, line in text_lines(file, notes):
        text = line.strip()
        if not text:
            continue
        where = f"{file.name}:{number}"
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            several = _several(text)
            if several is None:
                notes.add("a line is not JSON (cut off while it was written?) and is left out", where)
                continue
        else:
            several = [found]
        for one in several:
            if not isinstance(one, dict):
                notes.add(f"a line is a JSON {type(one).__name__}, not an object, and is left out", where)
            elif row := row_of(one, number, notes, where):
                yield row


def json_document_rows(file: Path, notes: Notes) -> Iterator[Row]:
    """The rows of a file that is one JSON document, or several one after the other.

    Nothing, and a note, where it is over `LARGEST_DOCUMENT`, is not JSON, or holds no rows. Where it was cut off, what
    stands before is read.
    """
    if file.stat().st_size > LARGEST_DOCUMENT:
        notes.add(f"a JSON document over {LARGEST_DOCUMENT >> 20} MiB is not read: write an object a line", file.name)
        return
    data = file.read_bytes()
    text = data.decode(encoding_of(data[:4096]), errors="replace").lstrip("\ufeff")
    number, any_row = 0, False
    for document in _documents(text, file, notes):
        for found in rows_in(document, file.name):
            number += 1
            if row := row_of(found, number, notes, f"{file.name}, row {number}"):
                any_row = True
                yield row
    if not any_row:
        notes.add("it is JSON without rows: expected a list of objects, or lists by name", file.name)


def rows_in(document: Any, file_name: str = "") -> Iterator[dict[str, Any]]:
    """The rows that a JSON document holds, whichever way round it was written."""
    if isinstance(document, list):
        tag = tensorboard_tag(file_name)
        if points := _points(document, tag[1] if tag else "value"):
            yield from points
        elif len(document) > 1 and isinstance(document[0], list) and all(isinstance(n, str) for n in document[0]):
            yield from (dict(zip(document[0], row, strict=False)) for row in document[1:] if isinstance(row, list))
        else:
            yield from (row for row in document if isinstance(row, dict))
        return
    if not isinstance(document, dict):
        return
    for key in _ROWS:
        held = document.get(key)
        if isinstance(held, list) and held and all(isinstance(row, dict) for row in held):
            yield from held
            return
    if isinstance(document.get("columns"), list) and isinstance(document.get("data"), list):
        yield from rows_in([document["columns"], *document["data"]])
        return
    by_name = {name: points for name, held in document.items() if (points := _points(held, str(name)))}
    if by_name:
        for points in by_name.values():
            yield from points
        return
    yield from _of_columns(document)


def row_of(found: Mapping[str, Any], number: int, notes: Notes, where: str) -> Row | None:
    """One object as a row; None where nothing is left of it."""
    outer = dict(found)
    for key in _WRAPPERS:
        held = outer.get(key)
        if isinstance(held, dict) and not set(map(str, held)) & set(outer):
            del outer[key]
            outer = {**outer, **held}
            break
    fields, lists = flattened(outer)
    for name in lists:
        notes.add(f"{name[:80]!r} holds a list, not a number, and is left out", where)
    if (columns := long_columns(list(fields))) and isinstance(fields[columns[1]], str):
        step, name, value = (fields[column] for column in columns)
        fields = {columns[0]: step, name: value}
    return Row(fields, number) if fields else None


def _documents(text: str, file: Path, notes: Notes) -> Iterator[Any]:
    at, end = 0, len(text)
    while True:
        while at < end and text[at] in " \t\r\n,\x00\x1e":
            at += 1
        if at >= end:
            return
        try:
            document, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            notes.add("it is no JSON from here on (cut off while it was written?)", f"{file.name}, character {at + 1}")
            if at < end and text[at] == "[":
                yield _before_the_cut(text, at + 1)
            return
        yield document


def _before_the_cut(text: str, at: int) -> list[Any]:
    """The whole elements of a list that has no end."""
    found: list[Any] = []
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            element, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return found
        found.append(element)


def _several(text: str) -> list[Any] | None:
    """Objects that stand in one line without anything between them; None where it is no such line."""
    found: list[Any] = []
    at = 0
    while at < len(text):
        try:
            one, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        found.append(one)
        while at < len(text) and text[at] in " \t,":
            at += 1
    return found


def _points(held: Any, name: str) -> list[dict[str, Any]] | None:
    """Rows of ``[[step, value], …]`` or ``[[wall, step, value], …]``; None for anything else."""
    if not isinstance(held, list) or not held or not all(isinstance(p, list) for p in held):
        return None
    sizes = set(map(len, held))
    if sizes not in ({2}, {3}) or not all(_is_number(n) for point in held for n in point[:-1]):
        return None
    return [{"step": point[-2], name: point[-1]} for point in held]


def _of_columns(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    columns: dict[str, Any] = {n: c for n, c in document.items() if isinstance(c, list) and len(c) > 1}
    if not columns and all(isinstance(c, dict) and c for c in document.values()) and document:
        # pandas' to_json: {"reward": {"0": 0.1, "1": 0.2}}
        columns = {n: list(c.values()) for n, c in document.items() if all(str(k).isdigit() for k in c)}
    sizes = [len(c) for c in columns.values()]
    if columns and len(set(sizes)) == 1 and all(_is_flat(c) for c in columns.values()):
        yield from (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    else:
        yield document


def _is_flat(column: Sequence[Any]) -> bool:
    return not any(isinstance(value, (list, dict)) for value in column)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
