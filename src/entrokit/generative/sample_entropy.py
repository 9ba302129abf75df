"""Differential entropy of what a generator makes: from samples alone, or exactly along the Euler steps of a flow."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["flow_entropy", "knn_entropy"]

# Distances at a time, in elements.
_BLOCK = 4_000_000


@torch.no_grad()
def knn_entropy(samples: Tensor, k: int = 4) -> float:
    """Entropy in nats, by distances to the k-th neighbours.

    ``ψ(N) - ψ(k) + log c_D + D mean log r``, with ``r`` the Euclidean distance of a sample to its k-th neighbour and
    ``c_D`` the volume of the unit ball. Its error falls slowly with N in many dimensions, and it reads a law on a
    surface as one of ever lower entropy the more samples there are: compare at equal N.

    Args:
        samples: ``[N, D]``, N above k. k: at least 1; more smooths.

    Raises:
        ValueError: another shape, too few samples, NaN; samples of which more than k are the same point.

    Warns:
        UserWarning: above 16 dimensions, where differences alone mean something.

    Source: Kozachenko and Leonenko (1987); Kraskov et al. (cond-mat/0305641), eq. 20, with Euclidean balls.
    """
    if samples.ndim != 2 or not samples.shape[1]:
        raise ValueError(f"samples are [N, D]; their shape is {list(samples.shape)}")
    count, dimensions = samples.shape
    if not 1 <= k < count:
        raise ValueError(f"k must lie in 1 to N - 1 = {count - 1}; it is {k}")
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("samples hold NaN or infinity")
    if dimensions > 16:
        warnings.warn(
            f"distances in {dimensions} dimensions concentrate: this entropy is rough, compare it at equal sizes alone",
            stacklevel=2,
        )
    wide = samples.double() if samples.device.type != "mps" else samples.float()
    # The sample itself is its nearest neighbour, at a distance of 0.
    radius = torch.cat([
        torch.cdist(part, wide, compute_mode="donot_use_mm_for_euclid_dist").topk(k + 1, largest=False).values[:, -1]
        for part in torch.split(wide, max(1, _BLOCK // count))
    ])  # fmt: skip
    same = int((radius == 0).sum())
    if same:
        raise ValueError(
            f"{same} of {count} samples are the same point as {k} others: a law with atoms has no differential entropy "
            f"(minus infinity); remove duplicates, or take a larger k"
        )
    ball = 0.5 * dimensions * math.log(math.pi) - math.lgamma(0.5 * dimensions + 1)
    psi = torch.digamma(torch.tensor([float(count), float(k)], dtype=torch.float64))
    return float(psi[0] - psi[1]) + ball + dimensions * float(radius.log().mean())


def flow_entropy(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int = 20) -> float:
    """Entropy in nats of the samples that even Euler steps of a flow make from standard normal noise at t = 1.

    ``D / 2 log(2 π e) + mean Σ log |det(I - dt J)|`` over the steps, J the Jacobian of the velocity: exact, but for the
    mean over ``noise``, where each step is one to one. Costs D backward passes and a determinant a step and sample, so
    it is for few dimensions.

    Args:
        velocity: ``velocity(x [B, D], t [B]) -> [B, D]``, each row by itself (no normalisation over the batch).
        noise: ``[B, D]``, standard normal; more rows, a better mean.

    Raises:
        ValueError: another shape, fewer than one step, a step that folds space (a determinant that is not above 0).
    """
    if noise.ndim != 2 or not noise.numel():
        raise ValueError(f"noise is [B, D]; its shape is {list(noise.shape)}")
    if steps < 1:
        raise ValueError(f"steps is at least 1; it is {steps}")
    count, dimensions = noise.shape
    x, dt = noise.detach(), 1 / steps
    identity = torch.eye(dimensions, dtype=x.dtype, device=x.device)
    total = torch.zeros(count, dtype=x.dtype, device=x.device)
    for i in range(steps):
        t = torch.full((count,), 1 - i / steps, dtype=x.dtype, device=x.device)
        with torch.enable_grad():
            leaf = x.requires_grad_()
            v = velocity(leaf, t)
            rows = [
                torch.autograd.grad(v[:, j].sum(), leaf, retain_graph=j + 1 < dimensions)[0] for j in range(dimensions)
            ]
        sign, log_det = torch.linalg.slogdet(identity - dt * torch.stack(rows, 1))
        if not bool((sign > 0).all()):
            raise ValueError(
                f"the step at t = {1 - i / steps:g} folds space at {int((sign <= 0).sum())} of {count} samples: take "
                f"more steps than {steps}"
            )
        total = total + log_det
        x = (leaf - dt * v).detach()
    return 0.5 * dimensions * math.log(2 * math.pi * math.e) + float(total.double().mean())
