"""A reference variable as categories: its own values, bins of equal width, or clusters."""

from __future__ import annotations

import torch
from torch import Tensor

from entrokit.extras import require


def categories(y: Tensor, *, discrete: bool | None = None, n_clusters: int = 10) -> Tensor:
    """Categories ``[N]`` int64, counted from 0.

    Integers ``[N]`` are their own categories; reals ``[N]`` fall into bins of equal width from the least to the
    largest; vectors ``[N, ...]`` are flattened and clustered (spectral clustering on nearest neighbours, scikit-learn).

    Args:
        discrete: whether each value is a category of its own; by default, whether y holds integers or booleans.
        n_clusters: of the bins or clusters, at least 1.

    Raises:
        ValueError: no values, values that are not finite, or fewer vectors than clusters.
        ImportError: vectors without scikit-learn.
    """
    if not y.dim() or not len(y) or not bool(torch.isfinite(y).all()):
        raise ValueError(f"categories: expected finite values [N, ...], got shape {list(y.shape)}")
    if n_clusters < 1:
        raise ValueError(f"categories: n_clusters must be at least 1, got {n_clusters}")
    if y.dim() == 1 or y[0].numel() == 1:
        y = y.flatten()
        if discrete or (discrete is None and not y.is_floating_point()):
            return _own(y)
        low, high = y.min(), y.max()
        scaled = (y - low) / (high - low) if high > low else torch.zeros_like(y, dtype=torch.float64)
        return (scaled * n_clusters).long().clamp(max=n_clusters - 1)
    if discrete:
        return _own(y.flatten(1))
    return _clusters(y.flatten(1), n_clusters)


def _own(y: Tensor) -> Tensor:
    category: Tensor = torch.unique(y, dim=0, return_inverse=True)[1]
    return category


def _clusters(y: Tensor, n_clusters: int) -> Tensor:
    if len(y) < n_clusters:
        raise ValueError(f"categories: {len(y)} vectors cannot be {n_clusters} clusters")
    require("clusters of vectors", "information")
    from sklearn.cluster import SpectralClustering

    method = SpectralClustering(
        n_clusters,
        affinity="nearest_neighbors",
        n_neighbors=min(10, len(y)),
        assign_labels="cluster_qr",
        random_state=0,
    )
    return torch.from_numpy(method.fit_predict(y.detach().double().cpu().numpy())).long()
