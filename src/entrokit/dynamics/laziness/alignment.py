"""How alike two Gram matrices of the same probes are: 1 where training only scaled them.

How connectivity structure shapes rich and lazy learning in neural circuits (arXiv 2310.08513):

    A(K, K') = ⟨K, K'⟩_F / (‖K‖_F ‖K'‖_F),    K = H Hᵀ of activity, or J Jᵀ of derivatives

The paper does not centre. Rectified activity shares a large mean, which holds an alignment up; ``center=True`` takes it
out, and the alignment of representations is then linear CKA (arXiv 1905.00414).
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor


def kernel_alignment(K0: Tensor, K1: Tensor, center: bool = False) -> float:
    """A of two kernels ``[m, m]``: 0 to 1 where both are positive semi-definite.

    NaN, with a warning, where one is zero.

    Args:
        center: whether the mean over probes is taken out of both first.

    Raises:
        ValueError: matrices that are not square, of different sizes or empty, or entries that are not finite.
    """
    if K0.dim() != 2 or K0.shape[0] != K0.shape[1] or K0.shape != K1.shape or not len(K0):
        raise ValueError(
            f"kernel_alignment: two kernels [m, m] of the same probes, got {list(K0.shape)} and {list(K1.shape)}"
        )
    a, b = (_scaled(K, name) for K, name in ((K0, "K0"), (K1, "K1")))
    if center:
        a, b = (_without_means(K) for K in (a, b))
    return _ratio(float((a * b).sum()), float(a.norm()) * float(b.norm()), "a kernel")


def representation_alignment(H0: Tensor, H1: Tensor, center: bool = False) -> float:
    """A of the kernels ``H Hᵀ`` of two activities ``[m, ...]`` of the same m probes, 0 to 1; see `kernel_alignment`.

    What follows the first dimension is flattened, and may differ in size. The kernels are not made where there are more
    probes than units: ``⟨H Hᵀ, H' H'ᵀ⟩ = ‖Hᵀ H'‖²``.

    Raises:
        ValueError: different numbers of probes, nothing to compare, or entries that are not finite.
    """
    if not H0.dim() or not H1.dim() or len(H0) != len(H1) or not H0.numel() or not H1.numel():
        raise ValueError(
            "representation_alignment: two activities [m, ...] of the same probes, got "
            f"{list(H0.shape)} and {list(H1.shape)}"
        )
    a, b = (_scaled(H, name).reshape(len(H), -1) for H, name in ((H0, "H0"), (H1, "H1")))
    if center:
        a, b = (_centred(H) for H in (a, b))
    if max(a.shape[1], b.shape[1]) >= len(a):
        return kernel_alignment(a @ a.T, b @ b.T)
    together = float((a.T @ b).square().sum())
    return _ratio(together, float((a.T @ a).norm()) * float((b.T @ b).norm()), "an activity")


def sign_similarity(H0: Tensor, H1: Tensor) -> float:
    """Share of the entries of two activities of one shape whose sign (-, 0, +) is the same, 0 to 1.

    Raises:
        ValueError: different shapes, no entry, or entries that are not finite.
    """
    if H0.shape != H1.shape or not H0.numel():
        raise ValueError(f"sign_similarity: two activities of one shape, got {list(H0.shape)} and {list(H1.shape)}")
    _check_finite(H0, "H0")
    _check_finite(H1, "H1")
    return float((H0.sign() == H1.sign()).double().mean())


def _check_finite(x: Tensor, name: str) -> None:
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name}: {int((~torch.isfinite(x)).sum())} of {x.numel()} entries are NaN or infinite")


def _scaled(x: Tensor, name: str) -> Tensor:
    """In float64, its largest entry 1: products of very large or small entries stay in range, and A is the same."""
    _check_finite(x, name)
    x = x.detach().double()
    largest = float(x.abs().max())
    return x / largest if largest > 0 else x


def _without_means(K: Tensor) -> Tensor:
    return _unless_rounding(K - K.mean(0) - K.mean(1, keepdim=True) + K.mean(), K)


def _centred(H: Tensor) -> Tensor:
    return _unless_rounding(H - H.mean(0), H)


def _unless_rounding(rest: Tensor, x: Tensor) -> Tensor:
    """What is left of x, or zeros where that may be rounding of its means alone."""
    noise = len(x) * torch.finfo(x.dtype).eps * float(x.norm())
    return rest if float(rest.norm()) > noise else torch.zeros_like(rest)


def _ratio(together: float, norms: float, what: str) -> float:
    if norms == 0.0:
        warnings.warn(
            f"{what} is zero on these probes (dead units?): its alignment is NaN", RuntimeWarning, stacklevel=3
        )
        return math.nan
    return together / norms
