"""Singular values of one matrix: through its Gram matrix where the result can be trusted, by SVD where not.

With k = min(m, n), N = max(m, n) and the narrow side first, G = W Wᵀ is k × k and λ_i(G) = s_i². Forming it and finding
its eigenvalues costs a fraction of an SVD, but squares κ. How far off λ_i is in float64, of unit roundoff u:

    |E_ij| <= γ_N ‖w_i‖ ‖w_j‖          rounding of the products, in whatever order they are added
    ‖E‖_2  <= ‖E‖_F <= N u tr G
    ‖E'‖_2 <= k u λ_1                   backward error of the eigenvalues (LAPACK: a modest multiple of u λ_1)
    |δλ_i| <= δ = u (N tr G + k λ_1)    Weyl

so that κ is off by a share of at most ½ (δ/λ_1 + δ/λ_k) <= δ/λ_k to first order. The Gram matrix is taken while
δ <= rtol λ_k, which is κ² <= rtol / (u (N tr G / λ_1 + k)). SVD has no square: its share is about k u κ. Square
matrices go to the SVD at once: their κ is 3.7 k by chance alone and far larger in attention, so that the bound would
seldom allow what was spent on it.

Lanczos finds s_1 but not s_k: small singular values of weights lie close together, and are found by few steps only with
the inverse of G, for which G must be formed and factored anyhow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Columns that are held in float64 at a time.
_SLAB = 8192
_PANELS = 4
_EPS = torch.finfo(torch.float64).eps


def singular_values(matrix: Tensor, *, rtol: float = 1e-4) -> tuple[Tensor, str]:
    """Singular values of ``[m, n]``: ``[min(m, n)]`` float64, descending, and how they were found, ``gram`` or ``svd``.

    Args:
        matrix: real floats of any precision; taken as they are into float64.
        rtol: share by which the smallest may be off through the Gram matrix, by a bound that rounding does not pass; 0
            always takes the SVD.

    Raises:
        ValueError: no matrix, an empty one, NaN or inf in it, or rtol below 0.
        TypeError: not of real floats.
    """
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"singular_values: expected a matrix that is not empty, got shape {list(matrix.shape)}")
    if not matrix.dtype.is_floating_point:
        raise TypeError(f"singular_values: expected real floating point numbers, got {matrix.dtype}; dequantise first")
    if not rtol >= 0:
        raise ValueError(f"singular_values: rtol must be at least 0, got {rtol}")
    matrix = matrix.detach()
    if matrix.device.type == "mps":  # has no float64
        matrix = matrix.cpu()
    narrow = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    exponent = _exponent(narrow)
    k, n = narrow.shape
    if k < n and rtol:
        eigenvalues = torch.linalg.eigvalsh(_gram(narrow, exponent))
        trace, largest, smallest = (float(v) for v in (eigenvalues.sum(), eigenvalues[-1], eigenvalues[0]))
        error = _EPS / 2 * (n * trace + k * largest)
        if error <= rtol * smallest:
            return eigenvalues.flip(0).sqrt() * 2.0**exponent, "gram"
    return torch.linalg.svdvals(_scaled(narrow, exponent)) * 2.0**exponent, "svd"


def condition_number(matrix: Tensor, *, floor: float | None = None, rtol: float = 1e-4) -> float:
    """κ = s_1 / s_k of ``[m, n]``, 1 to infinity; with a ``floor`` above 0, s_1 / (s_k + floor) (the PEFT version).

    Infinite where the matrix is singular in its own precision (see `is_singular`), and for zeros whatever the floor.

    Raises:
        ValueError, TypeError: see `singular_values`; or a floor that is not above 0.
    """
    check_floor(floor)
    values, _ = singular_values(matrix, rtol=rtol)
    return ratio(float(values[0]), float(values[-1]), matrix.shape, matrix.dtype, floor)


def check_floor(floor: float | None) -> None:
    """Raises: ValueError: a floor that is not above 0."""
    if floor is not None and not floor > 0:
        raise ValueError(f"condition numbers: a floor must be above 0, got {floor}; leave it out for none")


def ratio(largest: float, smallest: float, shape: tuple[int, ...], dtype: torch.dtype, floor: float | None) -> float:
    """κ of the extreme singular values of a matrix of that shape and stored precision."""
    if not largest or (floor is None and is_singular(largest, smallest, shape, dtype)):
        return math.inf
    return largest / (smallest + (floor or 0.0))


def is_singular(largest: float, smallest: float, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether s_k cannot be told from 0: s_k <= s_1 max(eps of the stored precision, max(m, n) eps of float64).

    Rounding to a precision moves entries by at most eps/2 of themselves, about evenly, and so singular values by
    (√m + √n) (eps / 2√3) ‖W‖_F / √(mn) <= eps s_1 / √3: a matrix that was singular before it was rounded stays below.
    Half precision counts as float32, since nearly every square matrix would be singular by its own eps.
    """
    eps = min(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    return smallest <= largest * max(eps, max(shape) * _EPS)


def _exponent(matrix: Tensor) -> int:
    """Of the power of two that brings entries near 1, so that no square overflows; exact."""
    top = float(matrix.abs().amax())
    if not math.isfinite(top):
        bad = int((~torch.isfinite(matrix)).sum())
        raise ValueError(f"singular_values: {bad} of {matrix.numel()} entries are NaN or inf")
    return min(1000, max(-1000, math.frexp(top)[1]))


def _scaled(matrix: Tensor, exponent: int) -> Tensor:
    return matrix.double() * 2.0**-exponent


def _gram(narrow: Tensor, exponent: int) -> Tensor:
    """The lower triangle of W Wᵀ (what is above its panels stays 0; `eigvalsh` reads the lower one)."""
    k = len(narrow)
    G = torch.zeros(k, k, dtype=torch.float64, device=narrow.device)
    step = -(-k // _PANELS)
    for slab in torch.split(narrow, _SLAB, dim=1):
        wide = _scaled(slab, exponent)
        for start in range(0, k, step):
            G[start:, start : start + step] += wide[start:] @ wide[start : start + step].mT
    return G
