"""Tensors of all processes, by accelerate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def reduced(accelerator: Any, x: Tensor) -> Tensor:
    """The sum over processes, where ``x`` was."""
    total: Tensor = accelerator.reduce(x.to(accelerator.device), reduction="sum")
    return total.to(x.device)


def gathered(accelerator: Any, x: Tensor) -> Tensor:
    """Of all processes along dimension 0, whose size may differ, where ``x`` was."""
    if x.dtype == torch.bool:
        # Padding makes other types of bools on the ranks that need any.
        return gathered(accelerator, x.byte()).bool()
    home, x = x.device, x.to(accelerator.device)
    sizes = accelerator.gather(torch.tensor([len(x)], device=x.device)).tolist()
    padded = accelerator.gather(accelerator.pad_across_processes(x, dim=0))
    return torch.cat([part[:n] for part, n in zip(padded.chunk(len(sizes)), sizes, strict=True)]).to(home)
