"""The diffusion operator of a point cloud, and its spectrum for as many points as a dense matrix can hold.

Assessing Neural Network Representations During Training Using Noise-Resilient Diffusion Spectral Entropy
(arXiv 2312.04823). With the Gaussian affinity G and degrees q = Σ_j G_ij:

    G_ij = exp(-|x_i - x_j|² / 2σ²),    K^α_ij = G_ij / (q_i q_j)^α,    K_ij = K^α_ij / sqrt(d_i d_j),  d = Σ_j K^α_ij

K has the eigenvalues of the row-normalised K^α. α = 0 gave every number of the paper; its text means α = 1/2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PAIRS = 1000


def points(x: Tensor, name: str = "x") -> Tensor:
    """``x`` ``[N, D]`` in float64, centred: distances between points far from the origin keep their digits.

    Raises:
        ValueError: another shape, no point, or an entry that is not finite.
    """
    if x.dim() != 2 or not len(x):
        raise ValueError(f"{name}: expected points [N, D] with N >= 1, got shape {list(x.shape)}; flatten each sample")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name}: {int((~torch.isfinite(x)).any(1).sum())} of {len(x)} points hold NaN or inf")
    x = x.double()
    return x - x.detach().mean(0)


def bandwidth(x: Tensor, sigma: float | str) -> float:
    """σ as a number.

    Args:
        x: ``[N, D]``. sigma: above 0; "sqrt_dim", √D; or "median", of the distances between the first 1000 points.

    Raises:
        ValueError: something else, or a median of 0.
    """
    if sigma == "sqrt_dim":
        return math.sqrt(x.shape[1])
    if sigma == "median":
        found = float(torch.pdist(x[:_PAIRS].detach().double()).median()) if len(x) > 1 else 0.0
        if not found > 0:
            raise ValueError("sigma='median': most points are equal; give a number")
        return found
    if isinstance(sigma, str) or not sigma > 0:
        raise ValueError(f"sigma must be a number above 0, 'sqrt_dim' or 'median', got {sigma!r}")
    return float(sigma)


def affinity(x: Tensor, sigma: float | str) -> Tensor:
    """G, ``[N, N]``, of points ``[N, D]``; differentiable, also where points coincide."""
    x = points(x)
    norm = x.square().sum(1)
    squared = (norm[:, None] + norm - 2.0 * x @ x.T).clamp(min=0.0)
    return torch.exp(-squared / (2.0 * bandwidth(x, sigma) ** 2))


def diffusion_matrix(G: Tensor, alpha: float = 0.0) -> Tensor:
    """The symmetric K of an affinity ``[N, N]``."""
    if alpha:
        weight = G.sum(1) ** -alpha
        G = G * weight[:, None] * weight
    root = G.sum(1).rsqrt()
    return G * root[:, None] * root


def diffusion_eigenvalues(x: Tensor, *, sigma: float | str = 10.0, alpha: float = 0.0) -> Tensor:
    """Eigenvalues of the diffusion operator, ``[N]`` float64, descending from 1: one decomposition for any time t.

    Takes O(N²) memory and O(N³) time: 0.8 GB a matrix at N = 10 000. `estimate_diffusion_spectrum` is for more.

    Args:
        x: points ``[N, D]``; gradients flow through.
        sigma: width of the kernel, as for `bandwidth`; it must fit the distances: far below those of neighbours every
            point is a cluster of its own, far above all are one.
        alpha: 0 to 1, how much of the density's effect is taken out.

    Raises:
        ValueError: see `points` and `bandwidth`.
    """
    ascending: Tensor = torch.linalg.eigvalsh(diffusion_matrix(affinity(x, sigma), alpha))
    return ascending.flip(0)
