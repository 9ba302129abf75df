"""Sums and moments over the samples of one prompt, whatever makes the samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def group_sum(x: Tensor, group: Tensor) -> Tensor:
    """The sum of ``x`` over each row's group, ``[B]``. ``x``: ``[B]`` float. ``group``: ``[B]`` int."""
    _, index = torch.unique(group, return_inverse=True)
    sums = x.new_zeros(int(index.max()) + 1 if index.numel() else 0)
    return sums.index_add(0, index, x)[index]


def widest(x: Tensor) -> torch.dtype:
    """The dtype to sum in: float64, but on Apple's GPUs, which have none."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def as_float(x: Tensor) -> Tensor:
    """Whole numbers (rewards of 0 and 1) as torch's default float; floats as they are."""
    return x if x.dtype.is_floating_point else x.to(torch.get_default_dtype())


@dataclass(frozen=True)
class GroupMoments:
    """Moments of numbers within groups, at every row: each ``[B]``, float64 where the device has it.

    Attributes:
        mean, std: of the row's group. centred: the row's number minus the mean. count: total weight of the group.

    Where all numbers of a group are equal, ``centred`` and ``std`` are exactly 0: a mean that rounds would leave a
    residue, which a standard deviation made of the same residue blows up to the size of a real advantage.
    """

    mean: Tensor
    centred: Tensor
    std: Tensor
    count: Tensor


def group_moments(x: Tensor, group: Tensor, *, weight: Tensor | None = None, ddof: int = 1) -> GroupMoments:
    """Weighted mean and standard deviation of ``x`` within each row's group.

    Args:
        x: ``[B]`` float; NaN counts nowhere, and its row is centred to 0. group: ``[B]`` int.
        weight: ``[B]``, at least 0; every row counts once by default.
        ddof: what the total weight is reduced by in the variance.
    """
    wide = widest(x)
    counted = ~torch.isnan(x)
    if weight is not None:
        counted = counted & (weight > 0)
    value = torch.where(counted, x, 0.0).to(wide)
    w = counted.to(wide) if weight is None else torch.where(counted, weight, 0).to(wide)
    count = group_sum(w, group)
    mean = group_sum(w * value, group) / torch.where(count > 0, count, 1.0)
    lowest, highest = (_group_extreme(value, counted, group, which) for which in ("amin", "amax"))
    equal = lowest == highest
    mean = torch.where(equal, lowest, mean)
    centred = torch.where(counted, value - mean, 0.0)
    variance = group_sum(w * centred.square(), group) / (count - ddof).clamp(min=1)
    return GroupMoments(mean, centred, variance.sqrt(), count)


def _group_extreme(value: Tensor, counted: Tensor, group: Tensor, which: str) -> Tensor:
    """Smallest (``amin``) or largest (``amax``) counted number of each row's group; infinite where none is."""
    _, index = torch.unique(group, return_inverse=True)
    none = torch.inf if which == "amin" else -torch.inf
    start = value.new_full((int(index.max()) + 1 if index.numel() else 0,), none)
    return start.scatter_reduce(0, index, torch.where(counted, value, none), which)[index]
