"""Checkpoints from which a run goes on as the same run, and which are known to be whole.

Stock TRL resumes bit for bit only where a checkpoint falls between two generation batches of the first epoch: it keeps
neither its place in a generation batch nor the batch, and replays the first epoch's order. What it forgets is saved
here for every rank, and a manifest, written last, says of every file of a checkpoint how long it is.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer.utils import RepeatSampler

from entrokit.runs.whole import partial_of, replace_file

logger = logging.getLogger(__name__)

MANIFEST = "entrokit_manifest.json"
UNFINISHED = "it was not finished"
_RANK = "entrokit_rank"
# Files above this are held to their length alone: reading them again would take as long as writing them.
_CHECKED_BYTES = 1 << 28


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler with an order of its own for every epoch, the first one TRL's: it can be told which epoch it is."""

    @classmethod
    def like(cls, sampler: RepeatSampler) -> EpochSampler:
        return cls(
            sampler.data_source,
            sampler.mini_repeat_count,
            sampler.batch_size,
            sampler.repeat_count,
            sampler.shuffle,
            sampler.seed,
        )

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle and self.seed is not None:
            self.generator.manual_seed(self.seed + epoch)


def save_rank(folder: str | Path, rank: int, state: Mapping[str, Any]) -> None:
    """Writes one rank's state, whole or not at all."""
    replace_file(_of_rank(folder, rank), lambda partial: torch.save(dict(state), partial))


def load_rank(folder: str | Path, rank: int) -> dict[str, Any] | None:
    """One rank's state, without unpickling anything but tensors and plain values; None where none was saved."""
    file = _of_rank(folder, rank)
    if not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def saved_ranks(folder: str | Path) -> set[int]:
    """The ranks whose state lies in a checkpoint."""
    return {int(f.stem.removeprefix(_RANK)) for f in Path(folder).glob(f"{_RANK}*.pt")}


def open_again(folder: str | Path) -> None:
    """Before anything is saved into a folder: what its manifest says of a save before this one counts no more."""
    (Path(folder) / MANIFEST).unlink(missing_ok=True)


def write_manifest(folder: str | Path) -> None:
    """Says of every file how long it is, and of all but the largest its CRC-32. Written last, by the main process."""
    root = Path(folder)
    for left_by_a_kill in root.glob(partial_of(root / "entrokit_*").name):
        left_by_a_kill.unlink()
    files = {
        str(f.relative_to(root)): _fingerprint(f) for f in sorted(root.rglob("*")) if f.is_file() and f.name != MANIFEST
    }
    replace_file(root / MANIFEST, lambda partial: partial.write_text(json.dumps(files, indent=1), encoding="utf-8"))


def what_is_damaged(folder: str | Path) -> str | None:
    """What is wrong with a checkpoint; None if all of it is there."""
    root = Path(folder)
    try:
        files = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        wrong = [name for name, expected in files.items() if _fingerprint(root / name) != expected]
    except FileNotFoundError as error:
        return UNFINISHED if Path(error.filename).name == MANIFEST else f"{error.filename} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return f"its manifest cannot be read ({error})"
    return f"{wrong[0]} is damaged" if wrong else None


def newest_whole(folder: str | Path) -> Path | None:
    """The furthest checkpoint of an output folder that is whole; damaged ones are warned of and passed over."""
    found = [f for f in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if f.name.rpartition("-")[2].isdigit()]
    for checkpoint in sorted(found, key=lambda f: int(f.name.rpartition("-")[2]), reverse=True):
        reason = what_is_damaged(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("%s cannot be resumed from: %s; the one before it is tried", checkpoint, reason)
    return None


def to_plain_values(value: Any) -> Any:
    """Dicts, lists and tensors as they are, other mappings as dicts: what `load_rank` accepts."""
    if isinstance(value, Mapping):
        return {key: to_plain_values(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain_values(own) for own in value]
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def to_device(value: Any, device: torch.device) -> Any:
    """Inverse of `to_plain_values`: tensors on the device."""
    if isinstance(value, dict):
        return {key: to_device(own, device) for key, own in value.items()}
    if isinstance(value, list):
        return [to_device(own, device) for own in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _of_rank(folder: str | Path, rank: int) -> Path:
    return Path(folder) / f"{_RANK}{rank}.pt"


def _fingerprint(file: Path) -> list[int]:
    size = file.stat().st_size
    return [size] if size > _CHECKED_BYTES else [size, zlib.crc32(file.read_bytes())]
