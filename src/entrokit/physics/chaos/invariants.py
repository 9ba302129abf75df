"""What a Lyapunov spectrum says of an attractor: its dimension, the rate at which it makes information, its trust."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import ArrayLike, as_not_negative, as_real

__all__ = ["kaplan_yorke_dimension", "pesin_entropy", "spectrum_weights"]


def kaplan_yorke_dimension(spectrum: ArrayLike) -> Tensor:
    """Where the sum of the largest exponents becomes negative, interpolated (Kaplan and Yorke, 1979).

    ``j + (λ_1 + ... + λ_j) / |λ_{j+1}|``, j the most exponents whose sum is not below 0; D where the sum of all is not,
    and 0 where the largest is negative. It never exceeds D, as annotations of public tables do.

    Args:
        spectrum: ``[..., D]``, in any order.

    Raises:
        ValueError: no exponents, no real numbers, NaN or plus infinity.
    """
    ordered = _spectrum(spectrum).sort(-1, descending=True).values
    sums = ordered.cumsum(-1)
    # Sums of falling numbers rise, then fall: once below 0 they stay there.
    j = (sums >= 0).sum(-1, keepdim=True)
    size = ordered.shape[-1]
    held = torch.where(j > 0, sums.gather(-1, (j - 1).clamp(min=0)), 0.0)
    beyond = ordered.gather(-1, j.clamp(max=size - 1)).abs()
    share = torch.where(j < size, held / beyond, 0.0)
    return (j + share).squeeze(-1)


def pesin_entropy(spectrum: ArrayLike) -> Tensor:
    """Sum of the positive exponents ``[..., D]``: metric entropy in nats per unit time, an upper bound in general."""
    return _spectrum(spectrum).clamp(min=0).sum(-1)


def spectrum_weights(spectra: ArrayLike, sharpness: float = 1000.0) -> Tensor:
    """How far each of several spectra of one flow is trusted: ``∝ exp(-sharpness min_k |λ_k|)``, ``[S, D] -> [S]``.

    A flow that goes on for ever has one exponent of exactly 0 (arXiv 2110.05266: 1000). Of spectra whose smallest
    exponents differ by more than a few thousandths one alone is left.
    """
    sharpness = as_not_negative(sharpness, "sharpness")
    smallest = _spectrum(spectra).abs().amin(-1)
    return (-sharpness * smallest).softmax(-1)


def _spectrum(given: ArrayLike) -> Tensor:
    spectrum = as_real(given, "spectrum")
    if not spectrum.ndim or not spectrum.shape[-1]:
        raise ValueError(f"spectrum: exponents [..., D] are expected; got {list(spectrum.shape)}")
    if bool((spectrum.isnan() | (spectrum == torch.inf)).any()):
        raise ValueError("spectrum: NaN or +inf among the exponents")
    return spectrum
