"""How good a list of heavy hitters is."""

from __future__ import annotations

from collections.abc import Sequence


def f1_at_k(found: Sequence[int], truth: Sequence[int]) -> float:
    """F1 of two sets of items; equal to precision and recall where both hold k."""
    if not len(found) or not len(truth):
        raise ValueError("f1_at_k: both lists must hold items")
    hits = len(set(map(int, found)) & set(map(int, truth)))
    return 2.0 * hits / (len(set(map(int, found))) + len(set(map(int, truth))))


def ncr(found: Sequence[int], truth_ranked: Sequence[int]) -> float:
    """Normalised cumulative rank: the most frequent of k true items is worth k, the next k - 1, and so on; 0 to 1."""
    k = len(truth_ranked)
    if not k:
        raise ValueError("ncr: truth_ranked must hold items, the most frequent first")
    worth = {int(item): k - i for i, item in enumerate(truth_ranked)}
    return sum(worth.get(v, 0) for v in set(map(int, found))) / (k * (k + 1) / 2)
