"""Multiscale entropy: sample entropy of a series averaged over blocks of growing length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from .checks import ArrayLike, as_series, as_whole
from .sample_entropy import similar_pairs, tolerances

__all__ = ["MultiscaleEntropy", "multiscale_entropy"]


@dataclass(frozen=True)
class MultiscaleEntropy:
    """Entropy over scales.

    Attributes:
        index: ``[...]``, area under the defined values at unit spacing over how many there are; nats.
        values: ``[..., S]`` at each scale; infinite where it is undefined, and not part of the index.
        scales: block lengths, S of them. dropped: ``[...]``, how many scales are undefined.
    """

    index: Tensor
    values: Tensor
    scales: tuple[int, ...]
    dropped: Tensor


@torch.no_grad()
def multiscale_entropy(
    x: ArrayLike,
    m: int = 2,
    tolerance: float | Tensor | None = None,
    scales: int | Sequence[int] | None = None,
    *,
    composite: bool = True,
    fuzzy: bool = True,
    edge: Literal["pad", "drop"] = "pad",
) -> MultiscaleEntropy:
    """Sample entropy at block lengths τ, and the area under them (Costa et al., 2002; arXiv 2110.05266).

    At scale τ the series is cut into blocks of τ points, whose means are a series of T // τ points; the tolerance is
    the same at all scales. Composite (Wu et al., 2013): the mean of the entropies from all τ offsets of the first
    block.

    Args:
        x: ``[..., T]``. m, tolerance, fuzzy: as `sample_entropy` has them. scales: up to this one, or these; by default
            1 to ``T // (m + 10) - 1``. edge: whether a last block that lacks points is filled up with the last one
            (``pad``, as the annotations of the paper are) or left out (``drop``); offsets alone can lack any.

    Raises:
        ValueError: too short, constant, or not finite; a scale that leaves less than m + 2 blocks; fewer than two
            scales; fewer than two at which it is defined.
    """
    m = as_whole(m, "m", 1)
    series = as_series(x, "x", m + 2)
    if edge not in ("pad", "drop"):
        raise ValueError(f"edge: is pad or drop; got {edge!r}")
    chosen = _scales(scales, series.shape[-1], m, spare=1 if composite and edge == "drop" else 0)
    radius = tolerances(series, tolerance).flatten()
    rows = series.reshape(-1, series.shape[-1])
    found = []
    for scale in chosen:
        parts = []
        for coarse in _coarse(rows, scale, composite=composite, edge=edge):
            offsets = coarse.shape[1]
            a, b = similar_pairs(coarse.flatten(0, 1), m, radius.repeat_interleave(offsets), fuzzy=fuzzy)
            parts.append(torch.where(b > 0, -(b / a).log(), torch.inf).view(-1, offsets))
        found.append(torch.cat(parts, 1).mean(1))
    values = torch.stack(found, -1).view(*series.shape[:-1], -1)
    defined = values.isfinite()
    if bool((defined.sum(-1) < 2).any()):
        raise ValueError("x: at all scales but one no pair of templates is alike; a larger tolerance, or more points")
    return MultiscaleEntropy(_area(values, defined), values, chosen, (~defined).sum(-1))


def _scales(given: int | Sequence[int] | None, length: int, m: int, spare: int) -> tuple[int, ...]:
    if given is None:
        given = length // (m + 10) - 1
        if given < 2:
            raise ValueError(f"x: {length} points have no two default scales; at least {3 * (m + 10)} are needed")
    listed = range(1, as_whole(given, "scales", 1) + 1) if np.ndim(given) == 0 else cast("Sequence[int]", given)
    chosen = tuple(as_whole(scale, "scales", 1) for scale in listed)
    if len(chosen) < 2:
        raise ValueError(f"scales: an area needs two of them at least; got {given!r}")
    for scale in chosen:
        if length // scale - (spare if scale > 1 else 0) < m + 2:
            raise ValueError(f"scales: blocks of {scale} leave less than {m + 2} of {length} points")
    return chosen


def _coarse(rows: Tensor, scale: int, *, composite: bool, edge: str) -> Iterator[Tensor]:
    """Means of blocks, ``[S, offsets, blocks]``, offsets of equally many blocks together."""
    length = rows.shape[1]
    blocks = length // scale
    if not composite:
        yield rows[:, : blocks * scale].reshape(-1, 1, blocks, scale).mean(-1)
        return
    if edge == "pad":
        rows = torch.cat([rows, rows[:, -1:].expand(-1, scale - 1)], 1)
    means = rows.unfold(1, scale, 1).mean(-1)
    whole = scale if edge == "pad" else length % scale + 1
    for first, last, count in ((0, whole, blocks), (whole, scale, blocks - 1)):
        if first < last:
            yield torch.stack([means[:, k::scale][:, :count] for k in range(first, last)], 1)


def _area(values: Tensor, defined: Tensor) -> Tensor:
    """Trapezoids over what is defined, moved together, over how many there are."""
    kept = torch.where(defined, values, 0.0)
    places = torch.arange(values.shape[-1], device=values.device).expand_as(values)
    first = torch.where(defined, places, values.shape[-1]).amin(-1, keepdim=True)
    last = torch.where(defined, places, -1).amax(-1, keepdim=True)
    ends = (kept.gather(-1, first) + kept.gather(-1, last)).squeeze(-1) / 2
    return (kept.sum(-1) - ends) / defined.sum(-1)
