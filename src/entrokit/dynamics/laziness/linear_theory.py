"""Two-layer linear networks: how far their tangent kernel turns, in closed form and by the flow itself.

How connectivity structure shapes rich and lazy learning in neural circuits (arXiv 2310.08513), for f(x) = w_2ᵀ W_1 x on
whitened inputs with target βᵀx, under gradient flow on ½ ‖W_1ᵀ w_2 - β‖²:

    K(x, x') = xᵀ M x',  M = W_1ᵀ W_1 + ‖w_2‖² I      conserved: W_1 W_1ᵀ - w_2 w_2ᵀ

From w_2 = 0 and W_1 → 0 the flow ends at M_f ∝ β βᵀ / ‖β‖² + I, whatever the rank it began with; so the kernel keeps
its direction only as far as the start was spread out like that, or pointed at β.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def two_layer_kernel(W1: Tensor, w2: Tensor) -> Tensor:
    """M ``[..., d, d]`` of weights ``[..., N, d]`` and ``[..., N]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    if W1.dim() < 2 or not w2.dim() or w2.shape[-1] != W1.shape[-2]:
        raise ValueError(f"two_layer_kernel: W1 [..., N, d] and w2 [..., N], got {list(W1.shape)} and {list(w2.shape)}")
    eye = torch.eye(W1.shape[-1], dtype=W1.dtype, device=W1.device)
    return W1.mT @ W1 + w2.square().sum(-1)[..., None, None] * eye


def alignment_for_task(M0: Tensor, beta: Tensor) -> float:
    """A(M_0, M_f) for a start of vanishing scale with w_2 = 0: ``[βᵀM_0β / ‖β‖² + tr M_0] / (‖M_0‖_F √(d + 3))``.

    At finite scale, or with w_2 ≠ 0, take `linear_flow` instead.

    Args:
        M0: ``[d, d]``, W_1ᵀ W_1 at the start, of any scale. beta: ``[d]``.

    Raises:
        ValueError: shapes that do not fit, or either zero or not finite.
    """
    d = beta.numel()
    if beta.dim() != 1 or M0.shape != (d, d):
        raise ValueError(f"alignment_for_task: M0 [d, d] and beta [d], got {list(M0.shape)} and {list(beta.shape)}")
    M0, beta = M0.detach().double(), beta.detach().double()
    norm, size = float(M0.norm()), float(beta.norm())
    if not (0 < norm < math.inf and 0 < size < math.inf):
        raise ValueError(f"alignment_for_task: M0 and beta must be finite and not zero, got norms {norm} and {size}")
    M, b = M0 / norm, beta / size
    return float(b @ M @ b + M.trace()) / math.sqrt(d + 3)


def expected_alignment(singular_values: Tensor, d: int) -> float:
    """Mean of `alignment_for_task` over isotropic β: ``(1 + 1/d) √PR / √(d + 3)``, PR the participation ratio.

    Args:
        singular_values: of W_1(0), ``[k]``, of any scale. d: inputs, at least k.

    Raises:
        ValueError: no singular value above 0, more of them than inputs, or one that is negative or not finite.
    """
    s = singular_values.detach().double()
    largest = float(s.max()) if s.dim() == 1 and len(s) else 0.0
    if not 0 < largest < math.inf or not bool((s >= 0).all()) or len(s) > d:
        raise ValueError(
            "expected_alignment: singular values [k] from 0 up, one of them above 0, and d >= k; got "
            f"{list(s.shape)}, the largest {largest}, and d = {d}"
        )
    squared = (s / largest).square()
    participation = float(squared.sum() ** 2 / squared.square().sum())
    return (1 + 1 / d) * math.sqrt(participation / (d + 3))


@torch.no_grad()
def linear_flow(
    W1: Tensor, w2: Tensor, beta: Tensor, *, step: float = 0.1, tolerance: float = 1e-8, max_steps: int = 20_000
) -> tuple[Tensor, Tensor]:
    """Where gradient flow takes a two-layer linear net: Runge-Kutta of order 4, many nets at once.

    Args:
        W1: ``[..., N, d]``. w2: ``[..., N]``. beta: ``[..., d]``, not 0; leading dimensions are broadcast.
        step: in units of the fastest time of each net, below 1. tolerance: of ‖W_1ᵀ w_2 - β‖ / ‖β‖.

    Returns:
        W1 and w2 at the end, in float64; the given ones stay as they are.

    Raises:
        ValueError: shapes that do not fit, beta 0, entries that are not finite, or a step or max_steps out of range.
        RuntimeError: a net has not arrived: it began on a saddle, as W_1 = w_2 = 0 is, or too close to one.
    """
    if max_steps < 1:
        raise ValueError(f"linear_flow: max_steps must be at least 1, got {max_steps}")
    batch = _batch(W1, w2, beta)
    W1, w2, beta = W1.double(), w2.double(), beta.double()
    size = beta.norm(dim=-1)
    if not all(bool(torch.isfinite(x).all()) for x in (W1, w2, beta)) or not bool((size > 0).all()) or not 0 < step < 1:
        raise ValueError(f"linear_flow: finite weights, beta other than 0 and a step in (0, 1); got step {step}")
    W1, w2 = W1.expand(*batch, *W1.shape[-2:]), w2.expand(*batch, w2.shape[-1])

    def velocity(W1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor]:
        rest = beta - (W1.mT @ w2[..., None])[..., 0]
        return w2[..., None] * rest[..., None, :], (W1 @ rest[..., None])[..., 0]

    for _ in range(max_steps):
        gap = ((W1.mT @ w2[..., None])[..., 0] - beta).norm(dim=-1) / size
        if bool((gap <= tolerance).all()):
            return W1, w2
        # The endpoint does not depend on how time is counted, so each net may have its own clock.
        h = step / torch.maximum(W1.square().sum((-2, -1)) + w2.square().sum(-1), size)
        W1, w2 = _runge_kutta(velocity, W1, w2, h)
    raise RuntimeError(
        f"linear_flow: {int((~(gap <= tolerance)).sum())} of {gap.numel()} nets not there after {max_steps} steps, the "
        f"farthest {float(gap.max()):.3g} of ‖β‖ away; start farther from W1 = w2 = 0, or allow more steps"
    )


def _batch(W1: Tensor, w2: Tensor, beta: Tensor) -> tuple[int, ...]:
    """The leading dimensions that all three have together."""
    if W1.dim() > 1 and w2.dim() and beta.dim() and (w2.shape[-1], beta.shape[-1]) == W1.shape[-2:]:
        with suppress(ValueError):
            return np.broadcast_shapes(W1.shape[:-2], w2.shape[:-1], beta.shape[:-1])
    raise ValueError(
        f"linear_flow: W1 [..., N, d], w2 [..., N], beta [..., d]; got {list(W1.shape)}, {list(w2.shape)}, "
        f"{list(beta.shape)}"
    )


def _runge_kutta(velocity: Velocity, W1: Tensor, w2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    hW, hw = h[..., None, None], h[..., None]
    aW, aw = velocity(W1, w2)
    bW, bw = velocity(W1 + hW / 2 * aW, w2 + hw / 2 * aw)
    cW, cw = velocity(W1 + hW / 2 * bW, w2 + hw / 2 * bw)
    dW, dw = velocity(W1 + hW * cW, w2 + hw * cw)
    return W1 + hW / 6 * (aW + 2 * bW + 2 * cW + dW), w2 + hw / 6 * (aw + 2 * bw + 2 * cw + dw)
