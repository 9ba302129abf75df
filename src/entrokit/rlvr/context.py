"""What every stage knows of the run around it, so that a recipe needs no engine and no global state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


def _identity(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Context:
    """Where the run stands, and the collectives of its process group.

    Attributes:
        step: optimiser steps taken so far.
        total_steps: optimiser steps of the whole run.
        generator: source of randomness, seeded alike on every rank.
        reduce: sums a tensor over ranks; identity on one process.
        gather: concatenates tensors over ranks along dimension 0, whose size may differ; identity on one process.
        rank: index of this process.
    """

    step: int = 0
    total_steps: int = 0
    generator: torch.Generator | None = None
    reduce: Callable[[Tensor], Tensor] = field(default=_identity)
    gather: Callable[[Tensor], Tensor] = field(default=_identity)
    rank: int = 0

    def gathered_with_own_part(self, local: Tensor) -> tuple[Tensor, slice]:
        """``local`` of all ranks concatenated along dimension 0, and where this rank's part lies in it."""
        sizes = self.gather(torch.tensor([local.shape[0]], device=local.device))
        start = int(sizes[: self.rank].sum())
        return self.gather(local), slice(start, start + local.shape[0])
