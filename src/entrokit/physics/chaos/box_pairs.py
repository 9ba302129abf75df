"""Pairs of points within a tolerance in every one of one, two or three coordinates, counted in N log^(d-1) N.

A pair method compares N² / 2 pairs. Here, but for few of them, points are sorted by each coordinate, so that "within
the tolerance of point i" is a window of ranks, and a window of one coordinate within a prefix of another is counted by
a wavelet tree: halves of the first coordinate's ranks, each in the order of the second, with running counts. For three
coordinates every half has such a tree of its own, made when its level is reached and dropped after it. Memory is N log
N whole numbers; counts are exact.

Series of a batch are blocks of one long array, each padded to a power of two by points that no window reaches.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["count_close_pairs"]

# Up to so many points all pairs are compared: that is sooner done.
_FEW = 512
# Queries at a time: their lanes stay in the cache of a core through all levels of a tree.
_QUERIES = 1 << 15
_COUNT = torch.int32


def count_close_pairs(points: Tensor, tolerance: Tensor) -> Tensor:
    """Unordered pairs ``i < j`` with ``|x_i - x_j| <= tolerance`` in all coordinates.

    Args:
        points: ``[S, n, d]`` of S series, d = 1, 2 or 3, finite. tolerance: ``[S]``, at least 0.

    Returns:
        Counts ``[S]``, int64. Differences that are the tolerance but for rounding may fall on either side.
    """
    series, n, dimensions = points.shape
    if n <= _FEW:
        close: Tensor = torch.cdist(points, points, p=torch.inf) <= tolerance[:, None, None]
        pairs: Tensor = close.triu(1).sum((1, 2))
        return pairs
    orders, windows = zip(*(_windows(points[..., k], tolerance) for k in range(dimensions)), strict=True)
    ahead = windows[0][1] - torch.arange(1, n + 1, device=points.device)
    if dimensions == 1:
        counts: Tensor = ahead.sum(1)
        return counts
    bits = (n - 1).bit_length()
    size = 1 << bits
    inverse = [_inverse(order) for order in orders]
    padding = torch.arange(n, size, dtype=_COUNT, device=points.device).expand(series, -1)
    # Keys: of the points in the order of another coordinate, their ranks in the first. Queries are in the first's
    # order.
    keys = [torch.cat([inverse[0].gather(1, order).to(_COUNT), padding], 1).flatten() for order in orders[1:]]
    boxes = [
        window.gather(2, of.gather(1, orders[0]).expand(2, -1, -1)).reshape(2, -1).to(_COUNT)
        for window, of in zip(windows[1:], inverse[1:], strict=True)
    ]
    base = (torch.arange(series, dtype=_COUNT, device=points.device) * size).repeat_interleave(n)
    prefix = windows[0][1].flatten().to(_COUNT)
    count = _in_tree if dimensions == 2 else _in_tree_of_trees
    found = count(keys, bits, base, prefix, boxes).view(series, n).sum(1)
    # A prefix holds whoever is before a point, too: of all matches in the other coordinates the unordered ones, and
    # itself.
    return found - n - count_close_pairs(points[..., 1:], tolerance)


def _windows(x: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """The order ``[S, n]`` by a coordinate, and ``[2, S, n]``, from which rank up to which others are close, in this
    order.

    The lower end is made of the upper ones, so that closeness is symmetric whatever rounding does.
    """
    values, order = x.sort(dim=-1, stable=True)
    upper = torch.searchsorted(values, values + tolerance[:, None], right=True)
    ranks = torch.arange(x.shape[-1], device=x.device).expand_as(upper).contiguous()
    return order, torch.stack([torch.searchsorted(upper, ranks, right=True), upper])


def _inverse(order: Tensor) -> Tensor:
    ranks = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, ranks)


def _halves(keys: Tensor, half: int) -> tuple[Tensor, Tensor, Tensor]:
    """Blocks of ``2 half`` keys as lower and upper halves, in order, and how many lower ones are before each place."""
    rows = keys.view(-1, 2 * half)
    lower = (rows & half) == 0
    before = torch.zeros(keys.numel() + 1, dtype=_COUNT, device=keys.device)
    torch.cumsum(lower.flatten(), 0, out=before[1:])
    return rows.masked_select(lower).view(-1, half), rows.masked_select(~lower).view(-1, half), before


def _joined(lower: Tensor, upper: Tensor) -> Tensor:
    return torch.stack([lower, upper], 1).flatten()


def _in_tree(keys: list[Tensor], bits: int, base: Tensor, prefix: Tensor, boxes: list[Tensor]) -> Tensor:
    """How many of the first ``prefix`` ranks of a block lie in a window ``[2, Q]`` of the other coordinate: ``[Q]``."""
    (key,), (box,) = keys, boxes
    levels = []
    for bit in reversed(range(bits)):
        lower, upper, before = _halves(key, 1 << bit)
        levels.append((1 << bit, before))
        key = _joined(lower, upper)
    parts = zip(torch.split(base, _QUERIES), torch.split(prefix, _QUERIES), torch.split(box, _QUERIES, 1), strict=True)
    return torch.cat([_down(levels, *(part.clone() for part in lanes)) for lanes in parts])


def _down(levels: list[tuple[int, Tensor]], base: Tensor, prefix: Tensor, window: Tensor) -> Tensor:
    """Follows queries through the levels, in place. A prefix beyond the lower half takes all of it and goes right."""
    found, lower = torch.zeros_like(prefix), torch.empty_like(window)
    for half, before in levels:
        torch.index_select(before, 0, (window + base).view(-1), out=lower.view(-1))
        lower -= base >> 1  # every block before has as many lower keys as upper ones
        right = (prefix >= half).to(_COUNT)
        found += (lower[1] - lower[0]).mul_(right)
        window.sub_(lower, alpha=2).mul_(right).add_(lower)
        right *= half
        prefix -= right
        base += right
    return found + prefix * (window[1] - window[0])


def _in_tree_of_trees(keys: list[Tensor], bits: int, base: Tensor, prefix: Tensor, boxes: list[Tensor]) -> Tensor:
    """As `_in_tree`, with windows of two other coordinates: each lower half that a prefix takes is asked for both."""
    (first, second), box = keys, torch.cat(boxes)
    found = torch.zeros_like(prefix)
    for bit in reversed(range(bits)):
        half = 1 << bit
        (low1, up1, before1), (low2, up2, before2) = _halves(first, half), _halves(second, half)
        first, second = _joined(low1, up1), _joined(low2, up2)
        lower = torch.cat([before1[box[:2] + base], before2[box[2:] + base]]) - (base >> 1)
        right = prefix >= half
        asked = right.nonzero()[:, 0]
        inner, at, ends = [_ranks_within(low1, low2)], (base >> 1)[asked], lower[:, asked]
        below = [_in_tree(inner, bit, at, ends[side], [ends[2:]]) for side in (0, 1)]
        found[asked] += below[1] - below[0]
        box = torch.where(right, box - lower, lower)
        prefix = torch.where(right, prefix - half, prefix)
        base = torch.where(right, base + half, base)
    return found + prefix * (box[1] - box[0]) * (box[3] - box[2])


def _ranks_within(first: Tensor, second: Tensor) -> Tensor:
    """Of the keys ``[blocks, half]`` in the second order, their places in the first order of the same block."""
    blocks, half = first.shape
    start = (torch.arange(blocks, dtype=_COUNT, device=first.device) * half)[:, None]
    places = torch.empty(first.numel(), dtype=_COUNT, device=first.device)
    of_first = torch.arange(half, dtype=_COUNT, device=first.device).repeat(blocks)
    places[(start + (first & (half - 1))).flatten()] = of_first
    return places[(start + (second & (half - 1))).flatten()]
