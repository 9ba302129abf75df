"""Sums over the completions of one prompt."""

from __future__ import annotations

import torch
from torch import Tensor


def group_sum(x: Tensor, group: Tensor) -> Tensor:
    """The sum of ``x`` over each row's group, ``[B]``. ``x``: ``[B]`` float. ``group``: ``[B]`` int."""
    _, index = torch.unique(group, return_inverse=True)
    sums = x.new_zeros(int(index.max()) + 1 if index.numel() else 0)
    return sums.index_add(0, index, x)[index]
