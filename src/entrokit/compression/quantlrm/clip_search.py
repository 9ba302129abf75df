"""How far to cut the outermost weights of a group before rounding, so that the others are rounded finer (AWQ)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arguments import check_flag, check_number
from .group_quantizer import check_bits, check_group_size, check_weight, rounded


@torch.no_grad()
def search_clip(
    weight: Tensor,
    x: Tensor,
    bits: int = 3,
    group_size: int | None = 128,
    *,
    n_grid: int = 20,
    max_shrink: float = 0.5,
    include_zero: bool = True,
) -> Tensor:
    """Largest magnitude to keep, ``[out, groups]``: max |w| times that of 1, 1 - 1/n, ... with the least output error.

    Each group of a row for itself, as AWQ (arXiv 2306.00978) does it: error is the mean over rows of x of the square of
    what the group adds to the output, less what it adds when cut and rounded. A tie keeps more, so that it is never
    worse than no cut at all. By the inputs' second moments in a group, at once for all rows.

    Args:
        weight: ``[out, in]``. x: inputs ``[tokens, in]``. n_grid, max_shrink: shrinks by 0, 1/n, ..., short of this.
        bits, group_size, include_zero: see `quantize_groups`.

    Raises:
        ValueError: something out of range or of another shape, no inputs, NaN or infinity.
    """
    check_bits("search_clip", bits)
    check_flag("search_clip: include_zero", include_zero)
    check_number("search_clip: max_shrink", max_shrink)
    check_weight("search_clip", weight)
    size = check_group_size("search_clip", weight.shape[1], group_size)
    if x.ndim != 2 or x.shape[1] != weight.shape[1] or not len(x):
        raise ValueError(
            f"search_clip: inputs are [tokens, {weight.shape[1]}] with at least one token, got {list(x.shape)}"
        )
    if not torch.isfinite(x).all():
        raise ValueError("search_clip: an input is NaN or infinite")
    if isinstance(n_grid, bool) or not isinstance(n_grid, int) or n_grid < 1 or not 0.0 < max_shrink <= 1.0:
        raise ValueError(f"search_clip: n_grid is a positive integer, max_shrink 0 to 1; got {n_grid!r}, {max_shrink}")
    weight = weight if weight.dtype == torch.float64 else weight.float()
    grouped = x.to(weight.dtype).reshape(len(x), -1, size).transpose(0, 1)
    moments = grouped.transpose(1, 2) @ grouped / len(x)
    largest = weight.reshape(len(weight), -1, size).abs().amax(2)
    best, limit = torch.full_like(largest, torch.inf), largest.clone()
    for step in range(max(1, int(max_shrink * n_grid))):
        tried = largest * (1.0 - step / n_grid)
        off = rounded(weight, bits, size, include_zero, tried) - weight
        off = off.reshape(len(weight), -1, size).transpose(0, 1)
        error = ((off @ moments) * off).sum(2).T
        better = error < best
        best, limit = torch.where(better, error, best), torch.where(better, tried, limit)
    return limit
