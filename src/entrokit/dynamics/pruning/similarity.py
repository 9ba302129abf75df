"""How alike two networks answer: linear CKA, Jensen-Shannon divergence, agreement of predictions.

A Three-regime Model of Network Pruning (arXiv 2305.18383) takes CKA of softmax outputs. The debiased form is that of
Nguyen, Raghu and Kornblith (arXiv 2010.15327), with the unbiased estimator of HSIC.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from entrokit.distributions import jensen_shannon_divergence


def linear_cka(X: Tensor, Y: Tensor, debiased: bool = False) -> float:
    """Linear centred kernel alignment of two representations of the same examples: in [0, 1] unless debiased.

    It does not see rotations, isotropic scaling or shifts of either. A representation that is constant up to the
    rounding of its dtype has none: the result is then NaN, with a warning. Computed in float64, by the products of
    features or of examples, whichever are smaller.

    Args:
        X, Y: ``[m, p]`` and ``[m, q]``, e.g. softmax outputs.
        debiased: with the unbiased estimator of HSIC, whose mean is 0 for what is independent; may be negative. It
            sees the similarity of different examples alone: where all are equally unlike, as one-hot rows are, there
            is none, and the result is NaN with a warning too.

    Raises:
        ValueError: not two matrices of as many rows, fewer than 2 examples (4 for debiased), NaN or inf.
    """
    least = 4 if debiased else 2
    if X.dim() != 2 or Y.dim() != 2 or len(X) != len(Y) or len(X) < least or not X.shape[1] or not Y.shape[1]:
        raise ValueError(
            f"linear_cka: needs X [m, p] and Y [m, q] of the same m >= {least} examples, got {list(X.shape)} and "
            f"{list(Y.shape)}"
        )
    if not bool(X.isfinite().all() and Y.isfinite().all()):
        raise ValueError("linear_cka: X or Y holds NaN or inf")
    a, b = _centred(X), _centred(Y.to(X.device))
    if a is None or b is None:
        warnings.warn(
            f"linear_cka: {'X' if a is None else 'Y'} is the same for all examples, and CKA is NaN: a network that "
            "collapsed is like nothing",
            RuntimeWarning,
            stacklevel=2,
        )
        return math.nan
    hsic = _unbiased_hsic if debiased else _gram_product
    own = hsic(a, a), hsic(b, b)
    # Both norms are 1: what is left of them is rounding.
    if min(own) <= len(a) * torch.finfo(torch.float64).eps:
        warnings.warn(
            f"linear_cka: in {'X' if own[0] <= own[1] else 'Y'} all pairs of examples are equally unlike, and debiased "
            "CKA is NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return math.nan
    return hsic(a, b) / math.sqrt(own[0] * own[1])


def mean_jensen_shannon(logits_a: Tensor, logits_b: Tensor) -> float:
    """Mean Jensen-Shannon divergence of output distributions, in nats: 0 (alike) to ln 2 (disjoint).

    Args:
        logits_a, logits_b: ``[m, classes]``, of the same examples; log-probabilities will do, of 0 too.

    Raises:
        ValueError: other shapes, or a row with NaN or +inf, or of -inf alone.
    """
    _check_logits("mean_jensen_shannon", logits_a, logits_b)
    a, b = logits_a.detach().double(), logits_b.detach().double().to(logits_a.device)
    return float(jensen_shannon_divergence(a, b, from_logits=True).mean())


def agreement(logits_a: Tensor, logits_b: Tensor) -> float:
    """Share of examples for which both give the same answer, in [0, 1].

    Args:
        logits_a, logits_b: ``[m, classes]``, of the same examples.

    Raises:
        ValueError: other shapes, or a row with NaN or +inf, or of -inf alone.
    """
    _check_logits("agreement", logits_a, logits_b)
    return float((logits_a.argmax(1) == logits_b.argmax(1).to(logits_a.device)).double().mean())


def _centred(X: Tensor) -> Tensor | None:
    """Float64 without the mean of every column, of Frobenius norm 1; None where nothing but rounding is left."""
    exact = X.detach().double()
    # Squares of very large or small entries stay in range.
    exact = exact / exact.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    centred = exact - exact.mean(0)
    eps = torch.finfo(X.dtype if X.is_floating_point() else torch.float64).eps
    size = centred.norm()
    return None if float(size) <= eps * float(exact.norm()) else centred / size


def _gram_product(a: Tensor, b: Tensor) -> float:
    """⟨K, L⟩ of the Gram matrices of ``[m, p]`` and ``[m, q]``, which is |aᵀb|²."""
    if len(a) >= max(a.shape[1], b.shape[1]):
        return float((a.T @ b).square().sum())
    return float(((a @ a.T) * (b @ b.T)).sum())


def _unbiased_hsic(a: Tensor, b: Tensor) -> float:
    """The estimator from Gram matrices with empty diagonals, times m (m − 3), which cancels in CKA."""
    m = len(a)
    (rows_a, sum_a, own_a), (rows_b, sum_b, own_b) = _row_sums(a), _row_sums(b)
    inner = _gram_product(a, b) - float(own_a @ own_b)
    return inner + sum_a * sum_b / ((m - 1) * (m - 2)) - 2 / (m - 2) * float(rows_a @ rows_b)


def _row_sums(a: Tensor) -> tuple[Tensor, float, Tensor]:
    """Of a Gram matrix with an empty diagonal: sums of its rows, of all of it; and the diagonal that was taken out."""
    diagonal = a.square().sum(1)
    rows = a @ a.sum(0) - diagonal
    return rows, float(rows.sum()), diagonal


def _check_logits(what: str, a: Tensor, b: Tensor) -> None:
    if a.dim() != 2 or a.shape != b.shape or not a.numel():
        raise ValueError(
            f"{what}: needs logits [m, classes] of the same examples, got {list(a.shape)}, {list(b.shape)}"
        )
    if not bool(a.amax(1).isfinite().all() and b.amax(1).isfinite().all()):
        raise ValueError(f"{what}: logits hold NaN or inf, or a row of -inf alone, which are no distribution")
