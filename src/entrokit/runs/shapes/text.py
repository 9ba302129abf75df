"""Lines of text files that may be huge, cut off, in any usual encoding, or no text at all."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from ..training_log import Notes

# No completion's line is longer; without a limit one endless line would be read into memory.
LONGEST_LINE = 1 << 26
HEAD = 1 << 18
_BLOCK = 1 << 20

_MAGIC = {
    b"PK\x03\x04": "a zip archive (unpack it first)",
    b"\x1f\x8b": "a gzip archive (unpack it first)",
    b"BZh": "a bzip2 archive (unpack it first)",
    b"\xfd7zXZ\x00": "an xz archive (unpack it first)",
    b"\x28\xb5\x2f\xfd": "a zstd archive (unpack it first)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive (unpack it first)",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b":W&B": "a W&B local file",
}
# Protocol 2 to 5 of pickle: its opcode and number, then a frame or the opcodes that begin what a run would hold.
_PICKLE = re.compile(rb"\x80[\x02-\x05][\x95\]}(cXK\x8a\x8c]")
_CONTROL = bytes(c for c in range(32) if c not in b"\t\n\r\f\x0b\x1b\x08") + b"\x7f"


def binary_kind(head: bytes) -> str | None:
    """What a file is that holds no text, by its first bytes; None for text."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if _PICKLE.match(head):
        return "a pickle (it is not opened: that would run what it holds)"
    if _utf16(head) or not head:
        return None
    # A killed machine leaves blocks of NUL bytes behind in a log that is text otherwise.
    solid = head.replace(b"\x00", b"")
    if len(solid) < len(head) / 2 or len(solid.translate(None, _CONTROL)) < 0.95 * len(solid):
        return "binary"
    return None


def encoding_of(head: bytes) -> str:
    """Encoding by the byte-order mark, or by where the NUL bytes lie; UTF-8 where nothing says otherwise."""
    return _utf16(head) or ("utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8")


def text_lines(file: Path, notes: Notes) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends, one at a time, from 1.

    A line that is not UTF-8 is read as Windows' Latin (cp1252), and noted; NUL bytes are left out, and noted. A last
    line without its end is given like any other: only its reader can tell whether it is whole.
    """
    number = 0
    with file.open("rb") as source:
        encoding = encoding_of(source.read(4096))
    for block in _blocks(file, encoding, notes):
        if b"\x00" in block:
            notes.add("NUL bytes were left out (a machine that went down while it wrote?)", f"{file.name}:{number + 1}")
            block = block.replace(b"\x00", b"")
        if number == 0 and block.startswith(codecs.BOM_UTF8):
            block = block[len(codecs.BOM_UTF8) :]
        try:
            lines = block.decode().split("\n")
        except UnicodeDecodeError:
            lines = []
            for i, line in enumerate(block.split(b"\n")):
                lines.append(_decoded(line, file, number + i + 1, notes))
        if block.endswith(b"\n"):
            lines.pop()
        for text in lines:
            number += 1
            yield number, text[:-1] if text.endswith("\r") else text


def _blocks(file: Path, encoding: str, notes: Notes) -> Iterator[bytes]:
    """UTF-8 in blocks of whole lines. A line over the limit leaves an empty one in its place, and a note."""
    rest, skipping = bytearray(), False
    with file.open("rb") as source:
        decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding.startswith("utf-16") else None
        while data := source.read(_BLOCK):
            if decoder:
                data = decoder.decode(data).encode("utf-8", "replace")
            end = data.rfind(b"\n") + 1
            if skipping:
                start = data.find(b"\n")
                if start < 0:
                    continue
                # The end of the long line is kept: lines go on being counted as an editor counts them.
                data, skipping, end = data[start:], False, end - start
            if not end:
                rest += data
                if len(rest) > LONGEST_LINE:
                    notes.add(f"a line is longer than {LONGEST_LINE >> 20} MiB and is left out", file.name)
                    rest, skipping = bytearray(), True
                continue
            rest += data[:end]
            yield bytes(rest)
            rest = bytearray(data[end:])
    if rest:
        yield bytes(rest)


def ends_half(file: Path) -> bool:
    """Whether the last line has no end, so that it may have been cut while it was written."""
    with file.open("rb") as source:
        source.seek(0, 2)
        if not source.tell():
            return False
        source.seek(max(0, source.tell() - 2))
        return b"\n" not in source.read()


def _utf16(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0:2000:2], head[1:2000:2]
    if len(odd) >= 2 and odd.count(0) > 0.7 * len(odd) and even.count(0) < 0.1 * len(even):
        return "utf-16-le"
    if len(odd) >= 2 and even.count(0) > 0.7 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "utf-16-be"
    return None


def _decoded(line: bytes, file: Path, number: int, notes: Notes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        notes.add("a line is not UTF-8 and was read as cp1252", f"{file.name}:{number}")
        return line.decode("cp1252", errors="replace")
