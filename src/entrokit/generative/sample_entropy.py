"""Differential entropy of what a generator makes, from samples alone."""

from __future__ import annotations

import math
import warnings

import torch
from scipy.spatial import KDTree
from torch import Tensor

from .checks import check_finite, check_tensors, check_whole

__all__ = ["knn_entropy"]


def knn_entropy(samples: Tensor, k: int = 4) -> float:
    """Entropy in nats, by distances to the k-th neighbours.

    ``ψ(N) - ψ(k) + log c_D + D mean log r``, with ``r`` the Euclidean distance of a sample to its k-th neighbour and
    ``c_D`` the volume of the unit ball. Its error falls slowly with N in many dimensions, and it reads a law on a
    surface as one of ever lower entropy the more samples there are: compare at equal N.

    Args:
        samples: ``[N, D]`` on any device, N above k. k: at least 1; more smooths.

    Raises:
        TypeError: samples that are no tensor, a ``k`` that is no whole number.
        ValueError: another shape, too few samples, complex numbers or bools, NaN or infinity, numbers whose squares
            leave float64; samples of which more than k are the same point.

    Warns:
        UserWarning: above 16 dimensions, where differences alone mean something.

    Source: Kozachenko and Leonenko (1987); Kraskov et al. (cond-mat/0305641), eq. 20, with Euclidean balls.
    """
    check_tensors(samples=samples)
    check_whole(k=k)
    samples = samples.detach()
    if samples.ndim != 2 or not samples.shape[1]:
        raise ValueError(f"samples are [N, D]; their shape is {list(samples.shape)}")
    if samples.is_complex() or samples.dtype == torch.bool:
        raise ValueError(f"samples are real numbers; their dtype is {samples.dtype}")
    count, dimensions = samples.shape
    if not 1 <= k < count:
        raise ValueError(f"k must lie in 1 to N - 1 = {count - 1}; it is {k}")
    check_finite("the array of samples", samples)
    if dimensions > 16:
        warnings.warn(
            f"distances in {dimensions} dimensions concentrate: this entropy is rough, compare it at equal sizes alone",
            stacklevel=2,
        )
    largest = float(samples.abs().max())
    if largest and not 1e-150 < largest < 1e150:
        raise ValueError(
            f"squares of numbers up to {largest:g} leave float64: divide the samples by a scale, and add D times its "
            "logarithm"
        )
    points = samples.double().cpu().numpy()
    # The sample itself is its nearest neighbour, at a distance of 0.
    radius = torch.as_tensor(KDTree(points).query(points, k + 1)[0][:, -1])
    same = int((radius == 0).sum())
    if same:
        raise ValueError(
            f"{same} of {count} samples are the same point as {k} others: a law with atoms has no differential entropy "
            f"(minus infinity); remove duplicates, or take a larger k"
        )
    ball = 0.5 * dimensions * math.log(math.pi) - math.lgamma(0.5 * dimensions + 1)
    psi = torch.digamma(torch.tensor([float(count), float(k)], dtype=torch.float64))
    return float(psi[0] - psi[1]) + ball + dimensions * float(radius.log().mean())
