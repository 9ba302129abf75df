"""Surrogate series: the same spectrum, and nothing else of the dynamics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import ArrayLike, as_series

__all__ = ["random_phase_surrogate"]


@torch.no_grad()
def random_phase_surrogate(x: ArrayLike, generator: torch.Generator | None = None) -> Tensor:
    """Series ``[..., T]`` with the Fourier amplitudes of ``x`` and phases of chance (Theiler et al., 1992).

    A phase is drawn for each positive frequency, and its negative has the opposite one; the mean and, of an even number
    of points, the highest frequency are kept. Coordinates of a trajectory that shall keep their correlations need the
    same phases, which these are not. A linear Gaussian process cannot be told from its surrogates; a chaotic flow can.

    Raises:
        ValueError: fewer than 4 points, constant, or not finite.
    """
    series = as_series(x, "x", 4)
    spectrum = torch.fft.rfft(series)
    free = slice(1, (series.shape[-1] + 1) // 2)
    angles = torch.rand(spectrum[..., free].shape, generator=generator, dtype=torch.float64, device=series.device)
    spectrum[..., free] *= torch.polar(torch.ones_like(angles), 2 * math.pi * angles)
    surrogate: Tensor = torch.fft.irfft(spectrum, n=series.shape[-1])
    return surrogate
