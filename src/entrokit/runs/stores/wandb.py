"""W&B's local files: ``wandb/run-<date>-<id>/run-<id>.wandb``, online or offline, finished or still being written.

wandb 0.31.0 has no reader for them that Python can call: ``wandb.sdk.internal.datastore.DataStore``, which 0.19.11
still had, is gone, and ``LocalApi`` (https://github.com/wandb/wandb/pull/12745) is not released. So the framing is
read here (`record_log`), and what is framed is decoded by W&B's own messages, ``wandb.proto.wandb_internal_pb2``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from entrokit.extras import require

from ..reader import RunReadError
from ..recording import Recording
from ..row import Row
from ..training_log import Notes
from .record_log import FILE_HEADER, records
from .shared import entries, first_bytes, flat, folders_in, printable, values_of, yaml_mapping

SOURCE = "W&B's local file"
_IDENT, _MAGIC, _VERSION = b":W&B", 0xBEE1, 0
_RUN_FOLDERS = ("run-", "offline-run-")
# W&B writes the run, and TRL its config, before the first row; a file without rows is not read to its end for them.
_PEEKED = 2000


def is_store(path: Path) -> bool:
    """Whether it is a ``.wandb`` file, a run's folder of W&B, or a folder of those, itself or as its ``wandb/``."""
    try:
        if not path.is_dir():
            return first_bytes(path, 4) == _IDENT or (path.suffix == ".wandb" and path.is_file())
        quiet = Notes()
        return any(_logs(folder, quiet) or _summary(folder).is_file() for folder in _run_folders(path, quiet))
    except OSError:
        return False


def recordings(path: Path, notes: Notes) -> list[Recording]:
    """The runs, a recording each, in the order in which they began; a run that was resumed has one a session.

    Rows hold what a call of ``log`` did, with W&B's own ``_step`` and ``_timestamp`` among the fields. `config` grows
    by what was set later while rows are read.

    Raises:
        MissingExtraError: the extra ``wandb`` is not installed.
        RunReadError: the file that was named is none of W&B's.
    """
    files = []
    for folder in _run_folders(path, notes) if path.is_dir() else []:
        found = _logs(folder, notes)
        files += found
        if not found and _summary(folder).is_file():
            notes.add(
                "W&B's summary holds last values and no course, and there is no run-<id>.wandb beside it: export the "
                "run's history, or copy the whole folder",
                printable(folder.name),
            )
    if not path.is_dir():
        files = [path]
        problem = _problem(path)
        if problem is not None and first_bytes(path, 1):
            raise RunReadError(f"{printable(path)} {problem}")
    if not files:
        return []
    require(f"{printable(files[0])} is W&B's local file; reading it", "wandb")
    runs = [run for file in files if (run := _recording(file, notes)) is not None]
    return sorted(runs, key=lambda r: (r.began is None, r.began or 0.0, str(r.where)))


def _run_folders(path: Path, notes: Notes) -> list[Path]:
    """The folder itself where it is a run's; else the runs' folders in it, or in its ``wandb``."""
    if _logs(path, notes) or _summary(path).is_file():
        return [path]
    folders = [folder for folder in folders_in(path, notes) if folder.name.startswith(_RUN_FOLDERS)]
    inner = path / "wandb"
    return folders or (_run_folders(inner, notes) if path.name != "wandb" and inner.is_dir() else [])


def _logs(folder: Path, notes: Notes) -> list[Path]:
    return [entry for entry in entries(folder, notes) if entry.suffix == ".wandb" and entry.is_file()]


def _summary(folder: Path) -> Path:
    return folder / "files" / "wandb-summary.json"


def _problem(file: Path) -> str | None:
    """Why a file cannot be read; None where it can."""
    head = first_bytes(file, FILE_HEADER.size)
    if not head:
        return "is empty, or cannot be opened"
    if len(head) < FILE_HEADER.size:
        return "is cut off within its first bytes"
    ident, magic, version = FILE_HEADER.unpack(head)
    if (ident, magic) != (_IDENT, _MAGIC):
        return "is no file of W&B's: it does not begin with its signature"
    return None if version == _VERSION else f"is of version {version} of W&B's format; known is {_VERSION}"


def _recording(file: Path, notes: Notes) -> Recording | None:
    problem = _problem(file)
    if problem is not None:
        notes.add(f"a .wandb file {problem}", printable(file.name))
        return None
    config = values_of(yaml_mapping(file.parent / "files" / "config.yaml", notes))
    run: str | None = None
    began: float | None = None
    for record in islice(_records(file, Notes()), _PEEKED):
        if record.HasField("run"):
            run = record.run.display_name or record.run.run_id or run
            if record.run.HasField("start_time"):
                began = record.run.start_time.seconds + record.run.start_time.nanos / 1e9
        _take_config(record, config)
        if record.HasField("history"):
            break
    return Recording(SOURCE, file, partial(_rows, file, notes, config), config, run, began)


def _rows(file: Path, notes: Notes, config: dict[str, Any]) -> Iterator[Row]:
    number = 0
    for record in _records(file, notes):
        if record.HasField("history"):
            number += 1
            fields = _fields(record.history, f"{printable(file.name)}, row {number}", notes)
            if "_step" not in fields and record.history.HasField("step"):
                fields["_step"] = record.history.step.num
            yield Row(fields, number)
        else:
            _take_config(record, config)


def _records(file: Path, notes: Notes) -> Iterator[Any]:
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    try:
        for raw in records(file, notes):
            try:
                yield Record.FromString(raw)
            except DecodeError:
                notes.add("a record is none of W&B's messages and is left out", printable(file.name))
    except OSError as error:
        notes.add(f"a .wandb file cannot be read: {error.strerror}", printable(file.name))


def _take_config(record: Any, config: dict[str, Any]) -> None:
    """Puts what a record says of the hyperparameters into the config."""
    said = record.run.config if record.HasField("run") else record.config if record.HasField("config") else None
    if said is None:
        return
    updates = _values(said.update, "", Notes())
    config.update({name: value for name, value in updates.items() if name.split("/")[0] != "_wandb"})
    for item in said.remove:
        config.pop(_name(item), None)


def _fields(history: Any, where: str, notes: Notes) -> dict[str, Any]:
    fields = _values(history.item, where, notes)
    return flat(fields) if any(isinstance(value, Mapping) for value in fields.values()) else fields


def _values(items: Iterable[Any], where: str, notes: Notes) -> dict[str, Any]:
    names = [_name(item) for item in items]
    texts = [item.value_json for item in items]
    try:
        # One call for a whole row: some five times faster than one a value.
        found = json.loads(f"[{','.join(texts)}]")
        if len(found) == len(names):
            return dict(zip(names, found, strict=True))
    except (ValueError, RecursionError):
        pass
    values: dict[str, Any] = {}
    for name, text in zip(names, texts, strict=True):
        try:
            values[name] = json.loads(text)
        except (ValueError, RecursionError):
            notes.add("a value is not JSON and is left out", f"{where}, {printable(name)}")
    return values


def _name(item: Any) -> str:
    return "/".join(item.nested_key) or str(item.key)
