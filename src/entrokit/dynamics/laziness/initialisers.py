"""Weights of a chosen rank at a fixed Frobenius norm, and weights that already know their task.

How connectivity structure shapes rich and lazy learning in neural circuits (arXiv 2310.08513). With W_0 Gaussian of
entries g N(0, 1) / √N and singular triples in descending order,

    W^(r) = c U_r S_r V_rᵀ,    c so that ‖W^(r)‖_F = ‖W_0‖_F

One W_0 serves every rank: give each call a generator with the same seed. Equal norms are not equal dynamics: at rank 1
all of the norm is one singular value, and a recurrent network may explode or be dead (see `spectral_radius`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GAIN = 1.25
"""g of the official code. Reviews of the paper quote 1.5."""


def truncate_rank(W: Tensor, rank: int, keep_norm: bool = True) -> Tensor:
    """The top singular triples of a matrix ``[N, d]``, in float64: what is below stays 0 until it is cast.

    Args:
        rank: how many. keep_norm: whether the result is scaled to the Frobenius norm of W.

    Raises:
        ValueError: no matrix, entries that are not finite, or a rank that W does not have.
    """
    if W.dim() != 2 or not W.numel() or not bool(torch.isfinite(W).all()):
        raise ValueError(f"truncate_rank: a finite matrix [N, d], got shape {list(W.shape)}")
    U, s, Vh = torch.linalg.svd(W.detach().double(), full_matrices=False)
    has = int((s > s[0] * max(W.shape) * torch.finfo(s.dtype).eps).sum())
    if not 1 <= rank <= has:
        raise ValueError(f"truncate_rank: rank must be 1 to {has}, the rank of W {list(W.shape)}; got {rank}")
    scale = s.norm() / s[:rank].norm() if keep_norm else 1.0
    kept: Tensor = (U[:, :rank] * (scale * s[:rank])) @ Vh[:rank]
    return kept


@torch.no_grad()
def low_rank_init_(
    tensor: Tensor,
    rank: int,
    generator: torch.Generator | None = None,
    keep_norm: bool = True,
    *,
    gain: float = GAIN,
) -> Tensor:
    """Fills a matrix ``[N, d]`` with a Gaussian one of standard deviation ``gain / √d``, cut to a rank; returns it.

    Args:
        rank: 1 to min(N, d). keep_norm: see `truncate_rank`. generator: of the draw, on any device.
        gain: g, above 0.

    Raises:
        ValueError: no matrix of floating point, or a rank or gain out of range. The tensor is untouched then.
    """
    _check_matrix(tensor, "low_rank_init_")
    if not 0 < gain < math.inf:
        raise ValueError(f"low_rank_init_: gain must be above 0 and finite, got {gain}")
    device = tensor.device if generator is None else generator.device
    W = torch.randn(tensor.shape, generator=generator, dtype=torch.float64, device=device)
    return tensor.copy_(truncate_rank(W * (gain / math.sqrt(tensor.shape[1])), rank, keep_norm))


@torch.no_grad()
def aligned_init_(
    W1: Tensor,
    w2: Tensor,
    beta: Tensor,
    scale: float,
    *,
    balanced: bool = True,
    generator: torch.Generator | None = None,
) -> None:
    """Fills a two-layer linear net ``w2ᵀ W1 x`` so that rank one is lazy: ``W1 = s u βᵀ / ‖β‖`` and ``w2 = s u``.

    u is a random unit vector. The tangent kernel then points at the task βᵀ x from the start, and learning only
    scales it.

    Args:
        W1: ``[N, d]``. w2: N weights of any shape, as ``[1, N]`` of `nn.Linear`. beta: ``[d]``, not 0.
        scale: s, above 0. balanced: otherwise w2 = 0, and the kernel turns after all.
        generator: of u.

    Raises:
        ValueError: shapes that do not fit, no floating point, beta 0 or not finite, or a scale out of range. The
            weights are untouched then.
    """
    _check_matrix(W1, "aligned_init_")
    if w2.numel() != W1.shape[0] or beta.shape != W1.shape[1:] or not w2.is_floating_point():
        raise ValueError(
            f"aligned_init_: W1 [N, d], w2 of N weights and beta [d], got {list(W1.shape)}, {list(w2.shape)} and "
            f"{list(beta.shape)}"
        )
    norm = float(beta.double().norm())
    if not 0 < norm < math.inf or not 0 < scale < math.inf:
        raise ValueError(
            f"aligned_init_: beta and scale must be above 0 and finite, got a norm of {norm} and a scale of {scale}"
        )
    device = W1.device if generator is None else generator.device
    u = torch.randn(W1.shape[0], generator=generator, dtype=torch.float64, device=device).to(W1.device)
    u = scale * u / u.norm()
    W1.copy_(torch.outer(u, beta.double() / norm))
    w2.copy_((u if balanced else torch.zeros_like(u)).reshape(w2.shape))


def _check_matrix(tensor: Tensor, who: str) -> None:
    if tensor.dim() != 2 or not tensor.numel() or not tensor.is_floating_point():
        raise ValueError(f"{who}: a matrix [N, d] of floating point, got {tensor.dtype} {list(tensor.shape)}")
