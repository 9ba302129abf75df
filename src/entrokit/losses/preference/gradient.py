"""The likelihood's gradient as preferences: the observed output against each rival, weighted by the rival's mass.

With P = softmax(u), a theorem of the softmax whatever the paper wrote:

    ∇ log P(y) = ∇u(y) - E_{y' ~ P}[∇u(y')] = Σ_{y' ≠ y} P(y') (∇u(y) - ∇u(y'))

The weights sum to 1 - P(y). Of free utilities a step η on one example moves the margin over rival k by
η (1 - P(y) + P(k)) > 0: every step widens every margin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import check_target, check_utilities


def preference_gradient_weights(u: Tensor, target: Tensor) -> Tensor:
    """How much each rival counts in the gradient of ``log P(target)``, ``[..., K]``, detached.

    The softmax mass of every candidate, 0 at the observed one; a row sums to 1 - P(target). Forbidden ones (-inf) weigh
    0.

    Args:
        u: utilities ``[..., K]``, of which only differences in a row count. target: ``[...]``, in [0, K).

    Raises:
        TypeError: ``u`` holds no floats or ``target`` no integers. ValueError: see `preference_loss`.
    """
    u = check_utilities("preference_gradient_weights", u)
    index = check_target("preference_gradient_weights", u, target)
    return torch.softmax(u.detach(), -1).scatter(-1, index, 0.0)


def preference_loss(u: Tensor, target: Tensor) -> Tensor:
    """Mean of ``Σ_{y'} P(y') (u(y') - u(y))`` with P held fixed, 0-dim, nats: its gradient is that of the mean NLL.

    Its value is the NLL minus the entropy of P, and so may be below 0; only the gradient is that of the likelihood.

    Args:
        u: utilities ``[..., K]``; -inf forbids a candidate. target: ``[...]``, in [0, K).

    Raises:
        TypeError: ``u`` holds no floats or ``target`` no integers.
        ValueError: NaN, +inf or a row of -inf; a target outside of the candidates, forbidden, or of another shape; no
            rows.
    """
    u = check_utilities("preference_loss", u)
    index = check_target("preference_loss", u, target)
    weights = torch.softmax(u.detach(), -1)
    # A forbidden rival is infinitely far away and weighs nothing.
    gaps = torch.where(weights > 0, u - u.gather(-1, index), 0.0)
    return (weights * gaps).sum(-1).mean()


def sampled_preference_loss(
    u: Tensor, target: Tensor, n_rivals: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """Mean of ``u(y') - u(y)`` over rivals ``y' ~ P`` that are drawn, 0-dim, nats; `preference_loss` in expectation.

    No gradient flows through the draw. A rival that is the observed output itself contributes 0, which makes the
    estimate unbiased.

    Args:
        u, target: as of `preference_loss`. n_rivals: draws a row, at least 1. generator: on the device of ``u``.

    Raises:
        TypeError, ValueError: as `preference_loss`; and ``n_rivals`` below 1.
    """
    if isinstance(n_rivals, bool) or not isinstance(n_rivals, int) or n_rivals < 1:
        raise ValueError(
            f"sampled_preference_loss: n_rivals must be a whole number of at least 1, got {n_rivals!r}; the exact sum "
            "over all rivals is preference_loss"
        )
    u = check_utilities("sampled_preference_loss", u)
    index = check_target("sampled_preference_loss", u, target)
    weights = torch.softmax(u.detach(), -1).flatten(0, -2) if u.dim() > 1 else torch.softmax(u.detach(), -1)[None]
    rivals = torch.multinomial(weights, n_rivals, replacement=True, generator=generator)
    drawn = u.gather(-1, rivals.view(*u.shape[:-1], n_rivals))
    return (drawn - u.gather(-1, index)).mean()
