"""Sums and minima over the completions of one prompt."""

from __future__ import annotations

import torch
from torch import Tensor


def group_sum(x: Tensor, group: Tensor) -> Tensor:
    """The sum of ``x`` over each row's group, ``[B]``. ``x``: ``[B]`` float. ``group``: ``[B]`` int."""
    _, index = torch.unique(group, return_inverse=True)
    sums = x.new_zeros(int(index.max()) + 1 if index.numel() else 0)
    return sums.index_add(0, index, x)[index]


def group_least(x: Tensor, group: Tensor) -> Tensor:
    """The least ``x`` of each row's group, NaN aside, ``[B]``; 0 where that is not finite. Shapes as `group_sum`.

    What is centred on a mean is subtracted from it first: equal rewards are then exactly equal to their mean, where a
    mean that rounding moved would leave a difference, for a standard deviation as small to divide.
    """
    _, index = torch.unique(group, return_inverse=True)
    least = x.new_full((int(index.max()) + 1 if index.numel() else 0,), torch.inf)
    known = torch.where(torch.isnan(x), torch.inf, x)
    found = least.scatter_reduce(0, index, known, "amin")[index]
    return torch.where(torch.isfinite(found), found, 0.0)
