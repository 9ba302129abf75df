"""Sums and concatenations over the data-parallel ranks of a verl worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed import all_gather, all_reduce


@dataclass(frozen=True)
class Collectives:
    """The collectives of a `Context`. verl holds batches on the CPU, and its groups talk between accelerators."""

    group: Any
    size: int
    device: str

    def reduce(self, x: Tensor) -> Tensor:
        """The sum over ranks."""
        if self.size == 1:
            return x
        total = x.to(self.device, copy=True)
        all_reduce(total, group=self.group)
        return total.to(x.device)

    def gather(self, x: Tensor) -> Tensor:
        """The concatenation over ranks along dimension 0, whose size may differ."""
        if self.size == 1:
            return x
        own = x.to(self.device).contiguous()
        sizes = self._all(torch.tensor([len(own)], device=self.device))
        longest = max(int(n) for n in sizes)
        wide = own.new_zeros(longest, *own.shape[1:])
        wide[: len(own)] = own
        return torch.cat([part[: int(n)] for part, n in zip(self._all(wide), sizes, strict=True)]).to(x.device)

    def _all(self, x: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(x) for _ in range(self.size)]
        all_gather(parts, x, group=self.group)
        return parts
