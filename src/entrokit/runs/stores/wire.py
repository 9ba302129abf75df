"""Protocol Buffers' wire format, for messages of which a few fields are wanted: https://protobuf.dev/programming-guides/encoding/"""

from __future__ import annotations

import struct

_DOUBLE, _FIXED = struct.Struct("<d"), {1: 8, 5: 4}


def fields_of(raw: bytes) -> dict[int, int | bytes]:
    """Fields by their numbers, the last of each: varints as numbers, everything else as bytes.

    Raises:
        ValueError: it is no message.
    """
    found: dict[int, int | bytes] = {}
    at, end = 0, len(raw)
    while at < end:
        key, at = _varint(raw, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            found[number], at = _varint(raw, at)
            continue
        size = _FIXED.get(kind, 0)
        if kind == 2:
            size, at = _varint(raw, at)
        elif not size:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at + size > end:
            raise ValueError("a field is longer than its message")
        found[number] = raw[at : at + size]
        at += size
    return found


def inner(fields: dict[int, int | bytes], number: int) -> bytes:
    """A field's bytes; none where it was left out, as what is zero or empty is.

    Raises:
        ValueError: it holds a number.
    """
    found = fields.get(number, b"")
    if isinstance(found, int):
        raise ValueError("a number in the place of bytes")
    return found


def signed(fields: dict[int, int | bytes], number: int) -> int:
    """An ``int64`` field; 0 where it was left out.

    Raises:
        ValueError: it holds no number.
    """
    found = fields.get(number, 0)
    if not isinstance(found, int):
        raise ValueError("bytes in the place of a number")
    return found - (1 << 64) if found >= 1 << 63 else found


def double(fields: dict[int, int | bytes], number: int) -> float:
    """A ``double`` field; 0 where it was left out.

    Raises:
        ValueError: it is none.
    """
    found = inner(fields, number)
    if len(found) not in (0, _DOUBLE.size):
        raise ValueError("no double")
    return float(_DOUBLE.unpack(found)[0]) if found else 0.0


def seconds(timestamp: bytes) -> float:
    """Unix seconds of a ``google.protobuf.Timestamp``.

    Raises:
        ValueError: it is none.
    """
    fields = fields_of(timestamp)
    return signed(fields, 1) + signed(fields, 2) / 1e9


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for position in range(at, min(at + 10, len(raw))):
        byte = raw[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position + 1
        shift += 7
    raise ValueError("a number without its end")
