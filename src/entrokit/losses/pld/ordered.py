"""The Plackett-Luce likelihood of classes that stand in their order already, weighted step by step, and its gradient.

For student logits a_1..a_m in that order and weights α_k (Plackett-Luce Distillation, arXiv 2506.12542):

    L = Σ_k α_k (M_k - a_k)        M_k = log Σ_{l >= k} exp(a_l)
    ∂L/∂a_j = exp(a_j) Σ_{k <= j} α_k exp(-M_k) - α_j

Both inner sums are of positive numbers, and float64 adds 150 000 of them to 2e-11 of themselves at worst. So they are
running sums of exponentials, without a logarithm at every step that would round it anew, and take longer than all else
here. Only where the class ranked last is so far below the best that its exponential vanishes are the sums taken by
logcumsumexp; the gradient is then right to 1e-15 of the largest logit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# exp of it is a normal number in float64, with room for sums and quotients of 1e6 of them.
_LOWEST = -680.0
_FINITE = torch.finfo(torch.float64).min


def ordered_loss(a: Tensor, alpha: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """L of every row, ``[n]`` nats, >= 0, and its gradient ``[n, m]`` in ``a`` where asked for.

    Args:
        a: ``[n, m]`` float64, the best class first; -inf where ``alpha`` is 0 only, and not in all of a row.
        alpha: ``[n, m]`` float64, >= 0.
    """
    top = a.amax(1, keepdim=True)
    if bool((a[:, -1:] - top > _LOWEST).all()):
        return _by_sums(a - top, alpha, gradient)
    return _by_logarithms(a, alpha, gradient)


def _by_sums(x: Tensor, alpha: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
    e = x.exp()
    suffix = e.flip(1).cumsum(1).flip(1)
    # -inf has weight 0, and 0 * inf would be NaN.
    loss = (suffix.log() - x.clamp_(min=_FINITE)).mul_(alpha).sum(1)
    if not gradient:
        return loss, None
    return loss, (alpha / suffix).cumsum(1).mul_(e).sub_(alpha)


def _by_logarithms(a: Tensor, alpha: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
    suffix = a.flip(1).logcumsumexp(1).flip(1)
    weighted = alpha > 0
    loss = torch.where(weighted, alpha * (suffix - a), 0.0).sum(1)
    if not gradient:
        return loss, None
    prefix = torch.where(weighted, alpha.log() - suffix, -math.inf).logcumsumexp(1)
    return loss, (a + prefix).exp_().sub_(alpha)
