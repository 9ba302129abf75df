"""The framing of W&B's and SwanLab's local files: LevelDB's log format behind a header of seven bytes.

https://github.com/google/leveldb/blob/main/doc/log_format.md, with two departures that both libraries share: the
checksum is zlib's CRC-32 of type and data, unmasked, and the header's seven bytes belong to the first block.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..training_log import Notes
from .shared import printable

BLOCK = 1 << 15
FILE_HEADER = struct.Struct("<4sHB")
HEADER = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

# One record is one row or one line of the console. More than this is damage, or a trap.
_LONGEST = 1 << 28
_SEEDS = {kind: zlib.crc32(bytes([kind])) for kind in (FULL, FIRST, MIDDLE, LAST)}
_CUT = "the file ends in the middle of a record (cut off, or still being written): what comes before it is read"
_DAMAGED = "a block of 32 KiB is damaged: records in it from there on are left out"


def records(file: Path, notes: Notes) -> Iterator[bytes]:
    """The whole records of a file, in order. What is damaged or cut off is left out, and noted with its byte.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with file.open("rb") as source:
        parts: list[bytes] = []
        start, at = 0, FILE_HEADER.size
        while block := source.read(BLOCK):
            where = printable(file.name)
            is_last = len(block) < BLOCK
            while at + HEADER.size <= len(block):
                checksum, length, kind = HEADER.unpack_from(block, at)
                end = at + HEADER.size + length
                if end > len(block) and is_last:
                    notes.add(_CUT, f"{where}, byte {start + at}")
                    return
                data = block[at + HEADER.size : end]
                if kind not in _SEEDS or end > len(block) or zlib.crc32(data, _SEEDS[kind]) != checksum:
                    notes.add(_DAMAGED, f"{where}, byte {start + at}")
                    parts.clear()
                    at = len(block)
                    break
                at = end
                if kind in (FULL, FIRST):
                    parts.clear()
                elif not parts:  # the rest of a record whose beginning is damaged
                    continue
                parts.append(data)
                if sum(map(len, parts)) > _LONGEST:
                    notes.add(f"a record is longer than {_LONGEST >> 20} MiB and is left out", where)
                    parts.clear()
                elif kind in (FULL, LAST):
                    yield b"".join(parts)
                    parts.clear()
            if is_last and any(block[at:]):
                notes.add(_CUT, f"{where}, byte {start + at}")
                return
            start, at = start + len(block), 0
        if parts:
            notes.add(_CUT, f"{printable(file.name)}, byte {start}")
