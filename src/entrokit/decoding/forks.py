"""Two temperatures: one for forking tokens, one for the rest.

Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM Reasoning
(arXiv 2506.01939), Eq. 5: an analysis tool. Its threshold is the paper's 80th percentile of one model's responses and
not the one that training uses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entrokit.distributions import entropy

__all__ = ["fork_temperature"]


def fork_temperature(logits: Tensor, *, threshold: float = 0.672, high: float = 1.0, low: float = 1.0) -> Tensor:
    """Probabilities at temperature ``high`` where ``H > threshold``, else ``low``.

    Args:
        logits: ``[..., V]``; H is measured at temperature 1. threshold: nats.

    Returns:
        Probabilities ``[..., V]``.
    """
    fork = entropy(logits, from_logits=True) > threshold
    return torch.softmax(logits / torch.where(fork, high, low)[..., None], -1)
