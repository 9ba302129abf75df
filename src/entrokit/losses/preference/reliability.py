"""Whether decisions are right as often as their probability says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..given import check_tensor, floats


@dataclass(frozen=True)
class Reliability:
    """A reliability picture as numbers: one entry for each bin of confidence that holds anything.

    Attributes:
        low, high: ends of the bin. count: decisions in it. confidence: their mean confidence. accuracy: the share that
            was right.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    count: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def expected_calibration_error(self) -> float:
        """``Σ n_b/N |accuracy_b - confidence_b|``, in [0, 1]; above 0 by chance alone where bins hold few."""
        total = sum(self.count)
        return sum(n * abs(a - c) for n, a, c in zip(self.count, self.accuracy, self.confidence, strict=True)) / float(
            total
        )

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy, in [-1, 1]."""
        total = sum(self.count)
        return sum(n * (c - a) for n, a, c in zip(self.count, self.accuracy, self.confidence, strict=True)) / float(
            total
        )


def reliability(confidence: Tensor, correct: Tensor, *, bins: int = 10, equal_mass: bool = False) -> Reliability:
    """Decisions by how confident they were.

    Args:
        confidence: ``[N]``, probabilities of what was decided, say ``confidence, decision = probs.max(-1)``.
        correct: ``[N]`` bool, say ``decision == target``. bins: of [0, 1], at least 1, each open below and closed above
            (0 is in the first). equal_mass: bins hold equally many instead; equal confidences share one.

    Raises:
        ValueError: shapes that differ, nothing in them, confidences outside of [0, 1] or NaN, bins below 1.
        TypeError: ``confidence`` holds no floats, or ``correct`` is not bool.
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ValueError(f"reliability: bins must be a whole number of at least 1, got {bins!r}")
    confidence = floats(confidence, "reliability: confidence")
    if check_tensor(correct, "reliability: correct", "a bool tensor").dtype != torch.bool:
        raise TypeError(f"reliability: correct must be bool, got {correct.dtype}")
    if confidence.shape != correct.shape or confidence.numel() == 0:
        raise ValueError(
            f"reliability: confidence and correct must be of one shape and not empty, got {list(confidence.shape)} and "
            f"{list(correct.shape)}"
        )
    p, right = confidence.detach().double().flatten().cpu(), correct.flatten().cpu()
    # What a softmax in float32 rounded above 1 is 1.
    outside = ~((p >= 0) & (p <= 1 + 1e-5))
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        raise ValueError(f"reliability: confidence {float(p[first])} at {first} is no probability")
    p = p.clamp(max=1.0)
    edges = torch.linspace(0.0, 1.0, bins + 1, dtype=torch.float64)
    if equal_mass:
        ordered = p.sort().values
        inner = ordered[[len(p) * j // bins for j in range(1, bins)]]
        edges = torch.tensor(sorted({0.0, *inner.tolist(), 1.0}), dtype=torch.float64)
    own = torch.bucketize(p, edges[1:-1])
    held = own.bincount(minlength=len(edges) - 1)
    sums = torch.zeros(2, len(held), dtype=torch.float64)
    sums[0].index_add_(0, own, p)
    sums[1].index_add_(0, own, right.double())
    kept = held > 0
    mean_p, accuracy = (sums[:, kept] / held[kept]).tolist()
    return Reliability(
        tuple(edges[:-1][kept].tolist()),
        tuple(edges[1:][kept].tolist()),
        tuple(held[kept].tolist()),
        tuple(mean_p),
        tuple(accuracy),
    )


def pool_reliability(pictures: Sequence[Reliability]) -> Reliability:
    """Several pictures with the same bins, of runs or seeds, as one of all their decisions.

    Raises:
        ValueError: no pictures, or bins that overlap without being the same.
    """
    bins: dict[tuple[float, float], list[tuple[int, float, float]]] = {}
    for one in pictures:
        for low, high, *held in zip(one.low, one.high, one.count, one.confidence, one.accuracy, strict=True):
            count, confidence, accuracy = held
            bins.setdefault((low, high), []).append((int(count), confidence, accuracy))
    if not bins:
        raise ValueError("pool_reliability: there are no pictures")
    ends = sorted(bins)
    for (_, high), (low, _) in pairwise(ends):
        if low < high:
            raise ValueError(
                f"pool_reliability: bins up to {high:g} and from {low:g} overlap; pool pictures of equal bins"
            )
    counts = [sum(n for n, _, _ in bins[one]) for one in ends]
    means = [
        [sum(row[0] * row[i] for row in bins[one]) / n for one, n in zip(ends, counts, strict=True)] for i in (1, 2)
    ]
    return Reliability(
        tuple(low for low, _ in ends), tuple(high for _, high in ends), tuple(counts), tuple(means[0]), tuple(means[1])
    )
