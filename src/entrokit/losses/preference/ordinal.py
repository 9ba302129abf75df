"""What the order of utilities alone decides: nothing here changes under a strictly increasing map of each row."""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import check_target, check_utilities


def argmax_decision(u: Tensor) -> Tensor:
    """The candidate of largest utility, ``[...]`` int64; of equal ones the lowest index.

    Args:
        u: utilities ``[..., K]``. Rather than probabilities: rounding may tie what is not tied in ``u``.

    Raises:
        TypeError, ValueError: see `preference_loss`.
    """
    return check_utilities("argmax_decision", u).argmax(-1)


def preference_margin(u: Tensor, target: Tensor) -> Tensor:
    """``u(y) - max_{y' ≠ y} u(y')``, ``[...]``, in the utilities' unit; differentiable.

    Above 0 where the observed output is ranked first, 0 where it ties. +inf where every rival is forbidden, -inf where
    the observed output itself is.

    Args:
        u: utilities ``[..., K]``; -inf forbids a candidate. target: ``[...]``, in [0, K).

    Raises:
        TypeError, ValueError: see `preference_loss`, but a forbidden target is none; and ValueError of one candidate,
            which has no rival.
    """
    u = check_utilities("preference_margin", u)
    index = check_target("preference_margin", u, target, allowed=False)
    if u.shape[-1] == 1:
        raise ValueError("preference_margin: there is one candidate, and no rival to be preferred to")
    return u.gather(-1, index).squeeze(-1) - u.scatter(-1, index, -torch.inf).amax(-1)


def preference_rate(u: Tensor, target: Tensor) -> Tensor:
    """Share of rows whose observed output is ranked first, 0-dim; one of k that tie for it counts 1/k.

    Args, Raises: as of `preference_margin`; one candidate alone is first.
    """
    u = check_utilities("preference_rate", u)
    index = check_target("preference_rate", u, target, allowed=False)
    first = u == u.amax(-1, keepdim=True)
    return (first.gather(-1, index).squeeze(-1) / first.sum(-1)).mean()


def pairwise_preference_accuracy(u: Tensor, target: Tensor) -> Tensor:
    """Share of pairs (observed output, rival) that the utility puts in that order, 0-dim; a tie counts 1/2.

    The mean is over all pairs of all rows, so that a row with more allowed rivals counts more. Forbidden candidates are
    no rivals.

    Args, Raises: as of `preference_margin`; and ValueError where no row has a rival.
    """
    u = check_utilities("pairwise_preference_accuracy", u)
    index = check_target("pairwise_preference_accuracy", u, target, allowed=False)
    rivals = (u > -torch.inf).scatter(-1, index, False)
    if not bool(rivals.any()):
        raise ValueError("pairwise_preference_accuracy: no row has an allowed candidate beside the observed one")
    own = u.gather(-1, index)
    wins = (own > u).double() + 0.5 * (own == u).double()
    return (wins[rivals].mean()).to(u.dtype)
