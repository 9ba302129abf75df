"""Sums of exp(-distance / tolerance) over all pairs of short templates without their means, in N log N.

A template of two numbers without its mean is (d, -d): its maximum norm is that of one number, and one sort is enough.
One of three, (u, v, w), has u + v + w = 0. Of the differences of two templates some two of the three have the same
sign, and the maximum norm is then the third's, which is their sum. So every pair belongs to one of three kinds, in each
of which the exponential is a product, exp(-u_i / r) exp(u_j / r), and a sum of products over pairs of which one lies
above the other in two coordinates is made level by level by halves of the first coordinate's ranks in the order of the
second. Running sums are kept as logarithms: nothing overflows, and all terms are positive, so that nothing cancels
either.

Ties are broken as if point i were moved by i times something infinitely small, in all three coordinates at once and
such that they still add up to 0: every pair is of just one kind.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["sum_of_similarities"]

# Up to so many templates all pairs are taken: that is sooner done.
_FEW = 128
# Entries of the matrix of differences that is held at a time where there is no shortcut.
_ENTRIES = 1 << 22


def sum_of_similarities(templates: Tensor, tolerance: Tensor) -> Tensor:
    """Sum over unordered pairs of ``exp(-max_k |y_ik - y_jk| / tolerance)``, y the templates without their own means.

    Args:
        templates: ``[S, n, m]`` of S series, float64. tolerance: ``[S]``, above 0.

    Returns:
        ``[S]``. Time ``n log n`` up to m = 3; beyond it ``n²``, in chunks.
    """
    _, n, m = templates.shape
    centred = (templates - templates.mean(-1, keepdim=True)) / tolerance[:, None, None]
    if m == 1:
        return centred.new_full((len(centred),), n * (n - 1) / 2)
    if n <= _FEW:
        return torch.cdist(centred, centred, p=torch.inf).neg().exp().triu(1).sum((1, 2))
    if m == 2:
        return _along_a_line(centred[..., 0])
    if m == 3:
        return _in_a_plane(centred)
    return torch.stack([sum(_chunks(own), own.new_zeros(())) for own in centred])


def _along_a_line(y: Tensor) -> Tensor:
    """Over pairs of ``[S, n]``: each is added to all that are below it in one running sum."""
    y = y.sort(-1).values
    return (y.logcumsumexp(-1)[:, :-1] - y[:, 1:]).exp().sum(-1)


def _in_a_plane(centred: Tensor) -> Tensor:
    v, w = centred[..., 0], centred[..., 2]
    total = v + w
    # What rounding took from the sum, exactly (Knuth): the order of v + w is that of real numbers.
    virtual = total - v
    lost = (v - (total - virtual)) + (w - virtual)
    index = torch.arange(v.shape[-1], device=v.device).expand_as(v)
    ranks_v, ranks_w = _ranks(v, index), _ranks(w, index)
    # The third coordinate is minus the sum, so it falls with it, and with the index where sums are the same.
    ranks_u = v.shape[-1] - 1 - _ranks(total, index, lost)
    one_order = ((ranks_v, ranks_w, total), (ranks_u, ranks_w, -v), (ranks_u, ranks_v, -w))
    return torch.stack([_above_in_both(*kind) for kind in one_order]).sum(0)


def _ranks(x: Tensor, index: Tensor, lost: Tensor | None = None) -> Tensor:
    """Ranks by ``x``, then by ``lost``, then by ``index``."""
    if lost is None:
        order = x.argsort(dim=-1, stable=True)
    else:
        order = lost.argsort(dim=-1, stable=True)
        order = order.gather(-1, x.gather(-1, order).argsort(dim=-1, stable=True))
    return torch.empty_like(order).scatter_(-1, order, index)


def _above_in_both(first: Tensor, second: Tensor, height: Tensor) -> Tensor:
    """Sum of ``exp(height_i - height_j)`` over pairs with i below j in both ranks ``[S, n]``, and so in height."""
    series, n = first.shape
    bits = max(n - 1, 1).bit_length()
    size = 1 << bits
    order = second.argsort(-1)
    padding = torch.arange(n, size, device=first.device).expand(series, -1)
    keys = torch.cat([first.gather(-1, order), padding], -1)
    weightless = height.new_full((series, size - n), -torch.inf)
    below = torch.cat([height.gather(-1, order), weightless], -1)
    above = torch.cat([-height.gather(-1, order), weightless], -1)
    found = height.new_zeros(series)
    for bit in reversed(range(bits)):
        half = 1 << bit
        keys, below, above = (lane.reshape(-1, 2 * half) for lane in (keys, below, above))
        lower = (keys & half) == 0
        running = torch.where(lower, below, -torch.inf).logcumsumexp(-1)
        terms = torch.where(lower, -torch.inf, running + above).exp()
        found += terms.view(series, -1).sum(-1)
        keys, below, above = (
            torch.stack([lane[lower].view(-1, half), lane[~lower].view(-1, half)], 1) for lane in (keys, below, above)
        )
    return found


def _chunks(y: Tensor) -> Iterator[Tensor]:
    """Parts of the sum over pairs of ``[n, m]``, rows at a time."""
    rows = max(1, _ENTRIES // y.numel())
    for start in range(0, len(y), rows):
        block = y[start : start + rows]
        near = torch.cdist(block, y[start:], p=torch.inf).neg().exp()
        yield near.triu(1).sum()
