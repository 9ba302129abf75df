"""Order statistics of more numbers than fit into memory at once, exactly.

Positive floats are ordered as the integers of the same bits. So a rank is found 16 bits at a time: how many numbers
begin with which bits says with which the wanted one does, and the next pass counts among those alone. Two passes for
float32, four for float64, in the memory of one matrix and a table of 65 536 counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_DIGIT = 16
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def order_statistics(matrices: Iterable[Tensor], ranks: Sequence[int], dtype: torch.dtype) -> list[float]:
    """The numbers of these ranks (from 0) among all strictly positive entries; ties count as often as they are there.

    Args:
        matrices: iterated over once a pass; of ``dtype`` or of one that it holds exactly.
        ranks: each below the number of positive entries. dtype: float32 or float64.
    """
    found = [(0, rank) for rank in ranks]
    top = torch.finfo(dtype).bits - _DIGIT
    for shift in range(top, -1, -_DIGIT):
        counts = {prefix: torch.zeros(1 << _DIGIT, dtype=torch.int64) for prefix, _ in found}
        for matrix in matrices:
            bits = matrix[matrix > 0].to(dtype).view(_INTEGERS[dtype])
            for prefix, count in counts.items():
                own = bits if shift == top else bits[bits >> (shift + _DIGIT) == prefix]
                count += torch.bincount((own >> shift) & ((1 << _DIGIT) - 1), minlength=1 << _DIGIT).cpu()
        found = [_next_digit(prefix, rank, counts[prefix]) for prefix, rank in found]
    return [float(torch.tensor(bits, dtype=_INTEGERS[dtype]).view(dtype)) for bits, _ in found]


def _next_digit(prefix: int, rank: int, counts: Tensor) -> tuple[int, int]:
    """Sixteen bits more of the number of a rank, and its rank among those that share them."""
    up_to = counts.cumsum(0)
    digit = int(torch.searchsorted(up_to, rank, right=True))
    return prefix << _DIGIT | digit, rank - (int(up_to[digit - 1]) if digit else 0)
