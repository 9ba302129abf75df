"""What to say of a path in which no run was found: what is there instead, and what could be done."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from .found import Found
from .names import Names
from .shapes.trackers import is_wandb_summary
from .training_log import Notes

_SHOWN, _PEEKED = 12, 1 << 16
_READABLE = (
    "Readable are the logs, consoles, tables and rollouts of TRL, verl and other engines, and the local files of W&B, "
    "TensorBoard, trackio, mlflow and SwanLab (docs/diagnose.md)."
)


def what_is_there(where: Path, found: Found, below: Sequence[Path], names: Names, notes: Notes) -> str:
    """The message of the refusal."""
    said = [f"{where}: no run was found in it."]
    # To look for names opens the files again, which would count every note twice.
    told = [f"{line}." for line in notes.lines()]
    written = _written(found)
    if where.is_file() and is_wandb_summary(_head(where)):
        said.append(
            "It ends with W&B's summary of a run, which holds last values and no course: diagnose the run's folder "
            "wandb/run-<date>-<id>, or the history exported from W&B (run page, Download, CSV)."
        )
    elif written:
        said.append(f"Names of metrics that were found: {_listed(written)}.")
        known = [name for name in written if names.meaning(name) is not None]
        if known:
            said.append(f"{_listed(known)}: nothing in it could be read as a number.")
        written = [name for name in written if name not in known]
        said += [
            f"{quantity} may be {_listed(close)}: --name {quantity}={close[0]}."
            for quantity in ("entropy", "reward")
            if (close := names.close_to(written, quantity))
        ]
        if written:
            said.append(
                "None of them is known; `--name quantity=name` says what one is (entropy, reward, length, kl, …)."
            )
    elif below:
        inside = [str(folder.relative_to(where)) for folder in below]
        said.append(f"{len(below)} folders below it look like runs; name one of them: {_listed(inside)}.")
    elif where.is_file() and where.stat().st_size == 0:
        said.append("The file is empty.")
    said += told
    return " ".join(said if len(said) > 1 + len(told) and (found.recordings or below) else [*said, _READABLE])


def _written(found: Found) -> list[str]:
    """Names in the first rows of what has the shape of metrics."""
    names: dict[str, None] = {}
    for recording in found.recordings:
        for row in islice(recording.rows(), 200):
            names.update(dict.fromkeys(map(str, row.fields)))
    return list(names)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= 60 else f"{name[:60]}…" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _head(file: Path) -> str:
    with file.open("rb") as source:
        return source.read(_PEEKED).decode("utf-8", errors="replace")
