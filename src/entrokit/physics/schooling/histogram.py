"""Entropies of histograms: many at once, with closed edges, and with what fell outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Correction = Literal["none", "miller_madow"]

# Values that are binned at a time: what is made of them stays within the processor's cache.
AT_ONCE = 2**16
# Of a bin. Headings at right angles, or on a ring, lie on edges, where each processor's rounding would decide.
EDGE = 1e-9


@dataclass(frozen=True)
class Histogram:
    """Counts ``(F, B)`` of F histograms, and the share ``(F,)`` of the values that fell outside of their range."""

    counts: Tensor
    dropped: Tensor


def histogram(values: Tensor, low: float, high: float, bins: int) -> Histogram:
    """Counts of values ``(F, M)`` in equal bins of [low, high], closed at both ends and each at its left."""
    rows = max(1, AT_ONCE // values.shape[1])
    counts = torch.cat([_counts((part - low) * (bins / (high - low)), bins) for part in torch.split(values, rows)])
    return Histogram(counts, 1.0 - counts.sum(1).double() / values.shape[1])


def _counts(scaled: Tensor, bins: int) -> Tensor:
    inside = (scaled >= -EDGE) & (scaled <= bins + EDGE)
    return counted(torch.where(inside, bin_of(scaled, bins), bins), bins + 1)[:, :bins]


def bin_of(scaled: Tensor, bins: int) -> Tensor:
    """Bins of values in units of a bin; what a rounding has put below an edge lies on it."""
    return (scaled + EDGE).long().clamp_(0, bins - 1)


def counted(index: Tensor, bins: int) -> Tensor:
    """How often each of 0 ... bins - 1 stands in the rows of ``(F, M)``, as ``(F, bins)``."""
    rows = len(index)
    offset = torch.arange(rows, device=index.device)[:, None] * bins
    return torch.bincount((index + offset).flatten(), minlength=rows * bins).view(rows, bins)


def normalised_entropy(weights: Tensor, bins: int, *, correction: Correction, undefined: float) -> Tensor:
    """-Σ q ln q / ln B over the last dimension of weights ``(F, B)``, in float64; ``undefined`` where they are all 0.

    Args:
        correction: ``miller_madow`` adds (K - 1) / 2n nats, for K bins that are not empty and n counts.
    """
    total = weights.sum(-1, dtype=torch.float64)
    q = weights / torch.where(total > 0, total, 1.0)[:, None]
    nats = 0.0 - torch.special.xlogy(q, q).sum(-1)
    if correction == "miller_madow":
        nats = nats + ((weights > 0).sum(-1) - 1) / (2.0 * total)
    return torch.where(total > 0, nats / math.log(bins), undefined)
