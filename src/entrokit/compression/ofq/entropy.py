"""How evenly codes are used: their entropy, at most their width."""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import check_bits

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def code_entropy_bits(codes: Tensor, bits: int) -> float:
    """Entropy of the empirical distribution of codes, in bits, so that it stands beside their width: 0 to ``bits``.

    Args:
        codes: integers of any shape, from -2^(bits - 1) to 2^(bits - 1) - 1, as `stats_codes` and `QuantizedWeight`
            give them. bits: 2 to 8.

    Raises:
        ValueError: bits outside 2 to 8, no codes, or codes outside their range. TypeError: no tensor of integers.
    """
    check_bits("code_entropy_bits", bits)
    if not isinstance(codes, Tensor) or codes.dtype not in _INTEGERS:
        kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        raise TypeError(f"code_entropy_bits: expected a tensor of integer codes, got {kind}; see stats_codes")
    n = 1 << bits - 1
    if not codes.numel() or int(codes.min()) < -n or int(codes.max()) >= n:
        span = f"from {int(codes.min())} to {int(codes.max())}" if codes.numel() else "none at all"
        raise ValueError(f"code_entropy_bits: codes of {bits} bits are from {-n} to {n - 1}, got {span}")
    counts = torch.bincount(codes.flatten().long() + n).double()
    share = counts[counts > 0] / counts.sum()
    # Of a single code, -(1 log 1) is -0.
    return max(0.0, -float((share * share.log2()).sum()))
