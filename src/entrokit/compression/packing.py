"""Integer codes of 1 to 8 bits as dense bytes: 3 bits take 3 bits.

Code i of a row of L codes lies in bits i b to i b + b - 1 of that row's bytes, the lowest bit first, and bit j of a row
is bit j mod 8 of its byte j // 8. Every row (the last dimension) begins at a byte of its own and takes ceil(L b / 8);
the bits behind its last code are 0. So 8 codes are always b bytes, whatever b is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["pack_codes", "packed_size", "unpack_codes"]

_INTEGERS = tuple(
    getattr(torch, name)
    for name in ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
    if hasattr(torch, name)
)
# Codes at a time are held as 64-bit integers, eight times what they take as bytes.
_SLAB = 1 << 20


def packed_size(size: int, bits: int) -> int:
    """Bytes of a row of ``size`` codes: ceil(size bits / 8).

    Raises:
        ValueError: bits outside 1 to 8, or a size below 0.
    """
    _check_bits("packed_size", bits)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(f"packed_size: size is how many codes a row has, an integer of at least 0; got {size!r}")
    return -(-size * bits // 8)


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Packs codes ``[..., size]`` along the last dimension: uint8 ``[..., ceil(size bits / 8)]``, on their device.

    Args:
        codes: integers from 0 to 2^bits - 1, of any integer type and of at least one dimension; may be empty.
        bits: of a code, 1 to 8.

    Raises:
        ValueError: bits outside 1 to 8, no dimension, or a code outside 0 to 2^bits - 1; names the first.
        TypeError: no tensor of integers.
    """
    _check_bits("pack_codes", bits)
    _check_integers("pack_codes", codes, _INTEGERS)
    *rows, size = codes.shape
    packed = torch.empty(*rows, packed_size(size, bits), dtype=torch.uint8, device=codes.device)
    if not codes.numel():
        return packed
    _check_range(codes, bits)
    flat, out = codes.reshape(-1, size), packed.view(-1, packed.shape[-1])
    places = torch.arange(8, device=codes.device)
    step = max(1, _SLAB // size)
    for start in range(0, len(flat), step):
        groups = pad(flat[start : start + step].to(torch.int64), (0, -size % 8)).unflatten(1, (-1, 8))
        # Eight codes are at most 64 bits; disjoint bits, so that a sum is what an `or` would be.
        words = (groups << places * bits).sum(2, keepdim=True)
        laid = (words >> 8 * places[:bits]) & 0xFF
        out[start : start + step] = laid.to(torch.uint8).flatten(1)[:, : out.shape[1]]
    return packed


def unpack_codes(packed: Tensor, bits: int, size: int) -> Tensor:
    """What `pack_codes` packed: uint8 ``[..., size]`` of ``[..., ceil(size bits / 8)]``.

    Args:
        packed: uint8, of at least one dimension. bits: of a code, 1 to 8. size: codes in a row.

    Raises:
        ValueError: bits outside 1 to 8, a size below 0, rows that are not as long as that size needs, or bits behind
            the last code that are not 0, as those of another size or width would be.
        TypeError: no tensor of uint8.
    """
    _check_bits("unpack_codes", bits)
    _check_integers("unpack_codes", packed, (torch.uint8,))
    needed = packed_size(size, bits)
    *rows, there = packed.shape
    if there != needed:
        raise ValueError(
            f"unpack_codes: {size} codes of {bits} bits are {needed} bytes, and rows of shape {list(packed.shape)} "
            f"have {there}"
        )
    codes = torch.empty(*rows, size, dtype=torch.uint8, device=packed.device)
    if not codes.numel():
        return codes
    flat, out = packed.reshape(-1, needed), codes.view(-1, size)
    spare = 8 * needed - size * bits
    if spare and bool((flat[:, -1] >> 8 - spare).any()):
        raise ValueError(
            f"unpack_codes: bits behind code {size} of a row are not 0; it was packed with another size or width"
        )
    places = torch.arange(8, device=packed.device)
    step = max(1, _SLAB // size)
    for start in range(0, len(flat), step):
        groups = pad(flat[start : start + step].to(torch.int64), (0, -needed % bits)).unflatten(1, (-1, bits))
        words = (groups << 8 * places[:bits]).sum(2, keepdim=True)
        laid = (words >> places * bits) & (1 << bits) - 1
        out[start : start + step] = laid.to(torch.uint8).flatten(1)[:, :size]
    return codes


def _check_bits(what: str, bits: int) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ValueError(f"{what}: bits of a code are an integer from 1 to 8, got {bits!r}")


def _check_integers(what: str, codes: Tensor, allowed: tuple[torch.dtype, ...]) -> None:
    if not isinstance(codes, Tensor) or codes.dtype not in allowed:
        kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        wanted = "uint8" if allowed == (torch.uint8,) else "integers"
        raise TypeError(f"{what}: expected a tensor of {wanted}, got {kind}")
    if not codes.ndim:
        raise ValueError(f"{what}: codes lie along the last dimension, and a tensor without any has none")


def _check_range(codes: Tensor, bits: int) -> None:
    whole = codes.to(torch.int64)
    wrong = (whole < 0) | (whole >= 1 << bits)
    if bool(wrong.any()):
        at = [int(i) for i in wrong.nonzero()[0]]
        raise ValueError(
            f"pack_codes: a code of {bits} bits is from 0 to {(1 << bits) - 1}; {int(wrong.sum())} of "
            f"{codes.numel()} are not, the first at {at}: {int(whole[tuple(at)])}"
        )
