"""What a linear map does to the entropy of Gaussian inputs; nats, float64, differentiable.

For y = W x, x ~ N(0, σ² I_n), with k = min(m, n) singular values (KappaTune, arXiv 2506.16289; Gaussian identities):

    h(y) = (k/2) ln(2πe σ²) + Σ ln s_i              on the range of W; where m > n it is -∞ in R^m
    ν(W) = (1/k) Σ ln s_i² - ln((1/k) Σ s_i²) <= 0   -2 × what unevenness costs a direction at equal ‖W‖_F; 0 iff κ = 1
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .spectrum import is_singular


def log_volume(matrix: Tensor) -> Tensor:
    """Σ ln s_i of ``[m, n]``: 0-dim, nats; of a singular matrix -inf, with a gradient of 0.

    Raises:
        ValueError: no matrix, an empty one, or NaN or inf in it. TypeError: not of real floats.
    """
    return _log_volume(_values(matrix, "log_volume"), matrix)


def normalized_log_volume(matrix: Tensor) -> Tensor:
    """ν of ``[m, n]``: 0-dim, nats, at most 0; the same for every multiple of W. Of a singular matrix -inf.

    Raises:
        ValueError, TypeError: as `log_volume`.
    """
    values = _values(matrix, "normalized_log_volume")
    if _singular(values, matrix):
        return _minus_infinity(values)
    return flatness(values)


def linear_gaussian_entropy(matrix: Tensor, sigma: float = 1.0) -> Tensor:
    """h(W x) of x ~ N(0, sigma² I): 0-dim, nats, on the range of W where it has more rows than columns.

    Raises:
        ValueError, TypeError: as `log_volume`; or sigma not above 0.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"linear_gaussian_entropy: sigma must be a number above 0, got {sigma}")
    values = _values(matrix, "linear_gaussian_entropy")
    return 0.5 * len(values) * math.log(2.0 * math.pi * math.e * sigma**2) + _log_volume(values, matrix)


def linear_gaussian_information(matrix: Tensor, *, sigma: float = 1.0, noise: float = 1.0) -> Tensor:
    """I(x; W x + ε) = ½ Σ ln(1 + s_i² sigma² / noise²): 0-dim, nats, at least 0, finite for singular matrices too.

    Args:
        matrix: ``[m, n]``. sigma: standard deviation of every input. noise: of ε in every output.

    Raises:
        ValueError, TypeError: as `log_volume`; or a deviation that is not above 0.
    """
    if not 0 < sigma < math.inf or not 0 < noise < math.inf:
        raise ValueError(
            f"linear_gaussian_information: sigma and noise must be numbers above 0, got {sigma} and {noise}"
        )
    values = _values(matrix, "linear_gaussian_information")
    return 0.5 * (values * (sigma / noise)).square().log1p().sum()


def _values(matrix: Tensor, who: str) -> Tensor:
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"{who}: expected a matrix that is not empty, got shape {list(matrix.shape)}")
    if not matrix.dtype.is_floating_point:
        raise TypeError(f"{who}: expected real floating point numbers, got {matrix.dtype}; dequantise first")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{who}: the matrix {list(matrix.shape)} holds NaN or inf")
    values: Tensor = torch.linalg.svdvals(matrix.double())
    return values


def flatness(values: Tensor) -> Tensor:
    """ν of singular values ``[k]``, descending, all above 0: 0-dim. In shares of the largest nothing overflows."""
    share = values / values[0]
    return 2.0 * share.log().mean() - share.square().mean().log()


def _log_volume(values: Tensor, matrix: Tensor) -> Tensor:
    return _minus_infinity(values) if _singular(values, matrix) else values.log().sum()


def _singular(values: Tensor, matrix: Tensor) -> bool:
    return is_singular(float(values[0].detach()), float(values[-1].detach()), matrix.shape, matrix.dtype)


def _minus_infinity(values: Tensor) -> Tensor:
    return 0.0 * values.sum() - math.inf
