"""Effective ranks: how many directions carry a matrix. Scale does not matter to any of them.

How connectivity structure shapes rich and lazy learning in neural circuits (arXiv 2310.08513); with singular values s
and eigenvalues λ by absolute size:

    participation (Σ s²)² / Σ s⁴      stable Σ s² / s_1²      entropy exp H(s / Σ s)      abs_eig Σ |λ| / (N |λ_1|)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

RankKind = Literal["participation", "stable", "entropy", "abs_eig"]


def effective_rank(W: Tensor, kind: RankKind = "participation") -> float:
    """The effective rank of a matrix ``[N, d]``.

    Args:
        kind: "participation" stands in the paper's theorem, "abs_eig" is what it reports of recurrent matrices: a share
            of N, 1/N to 1, and for square ones alone. The others lie between 1 and the rank. H is in nats.

    Returns:
        0 where all singular values (for "abs_eig", eigenvalues) are 0.

    Raises:
        ValueError: another kind, no matrix, a matrix without the eigenvalues that are asked for, or entries not finite.
    """
    W = _matrix(W, "effective_rank")
    if kind == "abs_eig":
        values = _eigenvalues(W, "effective_rank, kind='abs_eig'").abs()
    elif kind in ("participation", "stable", "entropy"):
        values = torch.linalg.svdvals(W)
    else:
        raise ValueError(f"effective_rank: kind is participation, stable, entropy or abs_eig, got {kind!r}")
    largest = float(values.max())
    if largest == 0.0:
        return 0.0
    s = values / largest
    if kind == "participation":
        return float(s.square().sum() ** 2 / s.pow(4).sum())
    if kind == "stable":
        return float(s.square().sum())
    if kind == "entropy":
        return float(torch.special.entr(s / s.sum()).sum().exp())
    return float(s.mean())


def spectral_radius(W: Tensor) -> float:
    """The largest absolute eigenvalue of a square matrix: above 1, activity of a linear recurrent network grows.

    Matrices of one Frobenius norm but different ranks differ in it, which can be what an effect of rank is due to.

    Raises:
        ValueError: no square matrix, or entries that are not finite.
    """
    return float(_eigenvalues(_matrix(W, "spectral_radius"), "spectral_radius").abs().max())


def _matrix(W: Tensor, who: str) -> Tensor:
    if W.dim() != 2 or not W.numel():
        raise ValueError(f"{who}: a matrix [N, d], got shape {list(W.shape)}")
    if not bool(torch.isfinite(W).all()):
        raise ValueError(f"{who}: {int((~torch.isfinite(W)).sum())} of {W.numel()} entries are NaN or infinite")
    return W.detach().double()


def _eigenvalues(W: Tensor, who: str) -> Tensor:
    if W.shape[0] != W.shape[1]:
        raise ValueError(f"{who}: a square matrix, got shape {list(W.shape)}")
    found: Tensor = torch.linalg.eigvals(W)
    return found
