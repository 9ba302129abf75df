"""Other entropies of points ``[N, D]`` that diffusion spectral entropy is compared with, in bits (arXiv 2312.04823)."""

from __future__ import annotations

import torch
from torch import Tensor

from .diffusion_entropy import spectral_entropy
from .diffusion_operator import affinity, diffusion_matrix, points


def matrix_entry_entropy(x: Tensor, *, sigma: float | str = 10.0, base: float = 2.0) -> Tensor:
    """A baseline: entropy of the entries of the row-normalised diffusion matrix, as shares of their sum."""
    K = diffusion_matrix(affinity(x, sigma))
    entries = (K / K.sum(1, keepdim=True)).flatten()
    return spectral_entropy(entries, base=base)


def adjacency_spectral_entropy(
    x: Tensor, *, sigma: float | str = 10.0, neighbours: int | None = None, t: float = 1.0, base: float = 2.0
) -> Tensor:
    """A baseline: `spectral_entropy` of the affinity itself, or of the graph of so many nearest ``neighbours``."""
    if neighbours is None:
        return spectral_entropy(torch.linalg.eigvalsh(affinity(x, sigma)), t, base=base)
    if not 0 < neighbours < len(x):
        raise ValueError(f"adjacency_spectral_entropy: neighbours must be 1 to {len(x) - 1}, got {neighbours}")
    x = points(x)
    away = torch.cdist(x, x).fill_diagonal_(torch.inf)
    nearest = away.topk(neighbours, largest=False).indices
    linked = torch.zeros_like(away).scatter_(1, nearest, 1.0)
    return spectral_entropy(torch.linalg.eigvalsh(torch.maximum(linked, linked.T)), t, base=base)


def binned_entropy(x: Tensor, *, bins: int = 2, base: float = 2.0) -> Tensor:
    """A baseline, classic: entropy of the occupied cells of a grid with ``bins`` a dimension; saturates at log N.

    Each dimension of ``x`` ``[N, D]`` is cut from its least to its largest value; constant ones say nothing.
    """
    if bins < 1:
        raise ValueError(f"binned_entropy: bins must be at least 1, got {bins}")
    x = points(x)
    low, high = x.min(0).values, x.max(0).values
    moves = high > low
    scaled = (x[:, moves] - low[moves]) / (high - low)[moves]
    cells = (scaled * bins).long().clamp(max=bins - 1)
    counts = torch.unique(cells, dim=0, return_counts=True)[1] if bool(moves.any()) else torch.tensor([len(x)])
    return spectral_entropy(counts.double(), base=base)
