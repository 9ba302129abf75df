"""The first-order law of entropy for a softmax policy (arXiv 2505.22617, Lemma 1 and Theorems 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["entropy_change"]


def entropy_change(logits: Tensor, delta_logits: Tensor) -> Tensor:
    """Predicted change of entropy when logits move by a small ``delta_logits``: ``-Cov_{a~π}(log π(a), Δz_a)``.

    With ``delta_logits = η π A`` it is the paper's Theorem 1 (policy gradient on a free softmax), with ``η A`` its
    Theorem 2 (natural policy gradient).

    Args:
        logits, delta_logits: ``[..., V]``.

    Returns:
        ``[...]``, nats.
    """
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    mean = (p * delta_logits).sum(-1, keepdim=True)
    return -torch.where(p > 0, p * log_p * (delta_logits - mean), 0.0).sum(-1)
