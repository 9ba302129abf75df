"""Bins of a feature: thresholds of boosted stumps or quantiles, merged until every bin can carry evidence.

The paper (arXiv 2509.09855) bins by boosted trees of depth 1; rounds, rate, least shares and monotone merging are
reconstructed here. Bin j of edges e holds ``e_(j-1) < x <= e_j``; missing values are a bin of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._arrays import Floats


def stump_edges(X: Floats, y: NDArray[np.int64], rounds: int, learning_rate: float, min_share: float) -> list[Floats]:
    """Of each column, the distinct thresholds of gradient-boosted stumps on all columns; missing values as medians."""
    from sklearn.ensemble import GradientBoostingClassifier

    missing = np.isnan(X)
    known = np.where(missing.all(0), 0.0, X)
    middle = np.nanmedian(known, axis=0)
    # A share of 1/2 or more could never be split.
    least = min(max(min_share, 1.0 / len(X)), 0.5)
    model = GradientBoostingClassifier(
        n_estimators=rounds, learning_rate=learning_rate, max_depth=1, min_samples_leaf=least, random_state=0
    ).fit(np.where(missing, middle, X), y)
    found: list[set[float]] = [set() for _ in range(X.shape[1])]
    for tree in (stage[0].tree_ for stage in model.estimators_):
        if tree.feature[0] >= 0:
            found[tree.feature[0]].add(float(tree.threshold[0]))
    return [np.array(sorted(edges)) for edges in found]


def quantile_edges(x: Floats, n_bins: int) -> Floats:
    """Inner edges of bins of equal counts; fewer where values repeat."""
    x = x[~np.isnan(x)]
    if not len(x):
        return np.array([])
    edges: Floats = np.unique(np.quantile(x, np.arange(1, n_bins) / n_bins))
    inner: Floats = edges[edges < x.max()]
    return inner


def bins_of(x: Floats, edges: Floats) -> NDArray[np.int64]:
    """The bin of every value; missing ones are in bin ``len(edges) + 1``."""
    found = np.searchsorted(edges, x, side="left")
    return np.where(np.isnan(x), len(edges) + 1, found).astype(np.int64)


def counts(bins: NDArray[np.int64], y: NDArray[np.int64], n_bins: int) -> tuple[Floats, Floats]:
    """Good (y = 0) and bad (y = 1) accounts per bin."""
    good, bad = (np.bincount(bins[y == c], minlength=n_bins).astype(np.float64) for c in (0, 1))
    return good, bad


def merged(
    x: Floats, y: NDArray[np.int64], edges: Floats, min_share: float, min_count: int, monotonic: int = 0
) -> Floats:
    """Fewer edges: until every bin has its least share and number of rows, and rates are monotone.

    Args:
        monotonic: 1 where the rate of bad must not fall with x, -1 where it must not rise, 0 for neither.
    """
    edges = np.asarray(edges, dtype=np.float64)
    while len(edges):
        good, bad = (c[:-1] for c in counts(bins_of(x, edges), y, len(edges) + 2))
        total = good + bad
        small = total < max(min_share * total.sum(), min_count)
        if small.any():
            worst = int(np.where(small, total, np.inf).argmin())
            beside = [i for i in (worst - 1, worst + 1) if 0 <= i <= len(edges)]
            other = min(beside, key=lambda i: total[i])
            edges = np.delete(edges, min(worst, other))
            continue
        falls = np.diff(bad / total) * monotonic < 0
        if not falls.any():
            break
        edges = np.delete(edges, int(falls.argmax()))
    return edges
