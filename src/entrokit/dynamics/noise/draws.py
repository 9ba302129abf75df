"""Batches without replacement, for many runs at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def distinct(uniforms: Reals, sizes: Integers, counts: Integers) -> Integers:
    """Distinct numbers below ``sizes``, every set alike likely: ``[..., B]``, of which the first ``counts`` are meant.

    Floyd's algorithm: it takes one uniform draw a number, and no memory of the others.

    Args:
        uniforms: in [0, 1), ``[..., B]``. sizes, counts: ``[...]``, counts ≤ B and ≤ sizes.
    """
    chosen = np.full(uniforms.shape, -1, dtype=np.int64)
    for j in range(uniforms.shape[-1]):
        last = sizes - counts + j
        drawn = (uniforms[..., j] * (last + 1)).astype(np.int64)
        taken = (chosen[..., :j] == drawn[..., None]).any(-1)
        chosen[..., j] = np.where(taken, last, drawn)
    return chosen


def hits(size: int, batch: int) -> Reals:
    """P(at most k of u marked points are in a batch), ``[size + 1, batch + 1]``: row u, column k (hypergeometric).

    The rows add up to 1 exactly, so that no draw lies above the last column.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])
    u, k = np.arange(size + 1)[:, None], np.arange(batch + 1)[None]
    possible = (k <= u) & (batch - k <= size - u)
    at = [np.where(possible, n, 0) for n in (u, k, u - k, size - u, batch - k, size - u - batch + k)]
    upper, lower, rest, upper_2, lower_2, rest_2 = (log_factorial[n] for n in at)
    total = log_factorial[size] - log_factorial[batch] - log_factorial[size - batch]
    shares = np.where(possible, np.exp(upper - lower - rest + upper_2 - lower_2 - rest_2 - total), 0.0)
    cumulated: Reals = np.cumsum(shares, axis=1)
    cumulated /= cumulated[:, -1:].copy()
    return cumulated
