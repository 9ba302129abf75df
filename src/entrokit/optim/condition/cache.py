"""Spectra on disk, found by the values of the weights: one that no longer fits them is never taken."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

_FORMAT = 1


@dataclass(frozen=True)
class Spectrum:
    """Of one matrix: extreme singular values, Σ ln s_i and ν in nats, and how they were found."""

    largest: float
    smallest: float
    log_volume: float
    normalized: float
    method: str


class SpectrumCache:
    """Remembers spectra in a JSON file, by a SHA-256 of precision, shape and every byte of the weights, and ``rtol``.

    Names do not count: the same weights in another model are found, changed ones under the old name are not.

    Args:
        file: need not be there yet. Written whole, under another name first, when a model has been measured.

    Raises:
        ValueError: the file is none of these.
    """

    def __init__(self, file: str | Path) -> None:
        self._file = Path(file)
        self._spectra: dict[str, list[Spectrum]] = {}
        self._changed = False
        if self._file.exists():
            try:
                kept = json.loads(self._file.read_text(encoding="utf-8"))
                if kept["format"] != _FORMAT:
                    raise ValueError(f"format {kept['format']}")
                self._spectra = {key: [Spectrum(**one) for one in ones] for key, ones in kept["spectra"].items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{self._file}: is no cache of spectra ({error}); delete it or name another"
                ) from error

    def __len__(self) -> int:
        return len(self._spectra)

    def get(self, stack: Tensor, rtol: float) -> list[Spectrum] | None:
        """What is kept of matrices ``[count, rows, columns]``, one each; None if nothing is."""
        return self._spectra.get(_key(stack, rtol))

    def put(self, stack: Tensor, rtol: float, spectra: list[Spectrum]) -> None:
        """Keeps what was found of ``stack``."""
        self._spectra[_key(stack, rtol)] = list(spectra)
        self._changed = True

    def save(self) -> None:
        """Writes the file, if anything was added."""
        if not self._changed:
            return
        spectra = {key: [asdict(one) for one in ones] for key, ones in self._spectra.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_name(f"{self._file.name}.{os.getpid()}.part")
        part.write_text(json.dumps({"format": _FORMAT, "spectra": spectra}), encoding="utf-8")
        part.replace(self._file)
        self._changed = False


def _key(stack: Tensor, rtol: float) -> str:
    digest = hashlib.sha256(f"{stack.dtype} {list(stack.shape)} {rtol!r}".encode())
    for one in stack:
        digest.update(one.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
