"""TensorBoard event files, decoded by TensorBoard itself (2.21.0): the event files of a folder are one run.

A folder inside of a run's is a run of its own, as TensorBoard shows it, with two exceptions that torch's writer makes
of one run: `add_scalars` writes ``<tag>_<name>/`` with that one tag (its points are named ``<tag>/<name>`` here), and
`add_hparams` a folder with nothing but ``hparam/…``.
"""

from __future__ import annotations

import heapq
import json
import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from entrokit.extras import require

from ..recording import Recording
from ..row import Row
from ..training_log import Notes
from .shared import grouped, is_regular, printable

SOURCE = "TensorBoard's event files"
_PEEKED = 100
# Folders that are looked through before a tree is said to hold none.
_FOLDERS = 20_000
# More files than this are read one after the other: a process may not hold many open.
_MERGED = 64
# transformers' TensorBoardCallback writes the training arguments as this text.
_ARGUMENTS = "args/text_summary"
_STRING = 7  # DataType.DT_STRING


class _Files:
    """Event files of one run, with the name that the points of each get in the place of their tag's."""

    def __init__(self) -> None:
        self.files: list[tuple[Path, str | None]] = []


def is_event_file(file: Path) -> bool:
    return ".tfevents." in file.name and is_regular(file)


def is_store(path: Path) -> bool:
    """Whether it is an event file, or a folder with one in it or below it."""
    try:
        if not path.is_dir():
            return is_event_file(path)
        walk = islice(os.walk(path), _FOLDERS)
        return any(is_event_file(Path(below, name)) for below, _, names in walk for name in names)
    except OSError:
        return False


def recordings(path: Path, notes: Notes) -> list[Recording]:
    """The runs, a recording each; `run` is the folder's path below ``path``, None where that is ``path`` itself.

    A row is what was written at one step, in the order of time.

    Raises:
        MissingExtraError: the extra ``tensorboard`` is not installed.
    """
    files = list(_below(path, notes)) if path.is_dir() else [path]
    if not files:
        return []
    require(f"{printable(files[0])} is a TensorBoard event file; reading it", "tensorboard")
    found = [_recording(path, folder, run, notes) for folder, run in _runs(files).items()]
    return sorted(found, key=lambda r: (r.began is None, r.began or 0.0, r.run or ""))


def _below(folder: Path, notes: Notes) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        notes.add(f"a folder cannot be read: {error.strerror}", printable(error.filename))

    for below, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        yield from (file for name in sorted(names) if is_event_file(file := Path(below, name)))


def _runs(files: Sequence[Path]) -> dict[Path, _Files]:
    """Event files by the folder of their run."""
    runs: dict[Path, _Files] = {}
    for file in sorted(files, key=lambda f: (len(f.parts), f)):
        home: Path = file.parent
        name = None
        if home not in runs and home.parent in runs:
            tags = {tag for _, _, values, _ in islice(_events(file, Notes()), _PEEKED) for tag in values}
            name = _name_of_part(home.name, tags)
            if name is not None or all(tag.startswith("hparam/") for tag in tags):
                home = home.parent
        runs.setdefault(home, _Files()).files.append((file, name))
    return runs


def _name_of_part(folder: str, tags: set[str]) -> str | None:
    """What the points of an `add_scalars` folder are called; None where it is none."""
    tag = next(iter(tags), "")
    prefix = tag.replace("/", "_") + "_"
    return f"{tag}/{folder[len(prefix) :]}" if len(tags) == 1 and folder.startswith(prefix) else None


def _recording(root: Path, folder: Path, run: _Files, notes: Notes) -> Recording:
    began: float | None = None
    config: dict[str, Any] = {}
    for file, _ in run.files:
        for time, _, _, texts in islice(_events(file, Notes()), _PEEKED):
            began = time if began is None else min(began, time)
            config = config or _arguments(texts)
    name = folder.relative_to(root).as_posix() if root.is_dir() and folder != root else None
    return Recording(SOURCE, folder, partial(_rows, run, notes), config, name, began)


def _arguments(texts: dict[str, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(texts.get(_ARGUMENTS, b""))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows(run: _Files, notes: Notes) -> Iterator[Row]:
    streams = [_points(file, name, notes) for file, name in run.files]
    merged = heapq.merge(*streams, key=lambda p: p[0]) if len(streams) <= _MERGED else chain.from_iterable(streams)
    return grouped((step, tag, value) for _, step, tag, value in merged)


def _points(file: Path, name: str | None, notes: Notes) -> Iterator[tuple[float, float, str, float]]:
    for time, step, values, _ in _events(file, notes):
        for tag, value in values.items():
            yield time, step, name or tag, value


def _events(file: Path, notes: Notes) -> Iterator[tuple[float, float, dict[str, float], dict[str, bytes]]]:
    """Wall time, step, scalars and texts of every event. What cannot be read is noted with its byte."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    read = 0
    try:
        for raw in RawEventFileLoader(str(file)).Load():
            read += len(raw) + 16  # a length, and a checksum behind each of the two
            event = Event.FromString(raw)
            scalars, texts = {}, {}
            for value in event.summary.value:
                number = _scalar(value)
                if number is not None:
                    scalars[value.tag] = number
                elif value.HasField("tensor") and value.tensor.string_val:
                    texts[value.tag] = value.tensor.string_val[0]
            yield event.wall_time, float(event.step), scalars, texts
        left = file.stat().st_size - read
    except Exception as error:  # whatever a damaged file makes TensorBoard raise
        notes.add(f"an event file ends early: {type(error).__name__}", f"{printable(file.name)}, byte {read}")
        return
    if left:
        notes.add(
            "an event file ends in the middle of an event (cut off, damaged, or still being written): what comes "
            "before it is read",
            f"{printable(file.name)}, byte {read}",
        )


def _scalar(value: Any) -> float | None:
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.tensor.dtype == _STRING:
        return None
    # A file may claim any shape, and one number would fill it.
    if math.prod(side.size for side in value.tensor.tensor_shape.dim) != 1:
        return None
    from tensorboard.util import tensor_util

    try:
        return float(tensor_util.make_ndarray(value.tensor).item())
    except (TypeError, ValueError):
        return None
