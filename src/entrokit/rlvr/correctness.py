"""Which completions are right, where an engine knows their rewards alone."""

from __future__ import annotations

import torch
from torch import Tensor

from .context import Context

# A reward of 1, but for rounding.
LEAST_RIGHT_REWARD = 1.0 - 1e-6


def right_if_binary(reward: Tensor, context: Context | None = None) -> Tensor | None:
    """Who got reward 1, ``[B]`` bool, where a reward can only say right (1) or wrong (0); ``None`` otherwise.

    Args:
        reward: ``[B]`` float; NaN (not scored) is not right. context: its collectives look at all ranks' rewards.

    A sum of several rewards, or a graded one, does not say what is right: a length penalty keeps every right answer
    below 1, and a wrong answer in the right format may reach it.
    """
    right = reward >= LEAST_RIGHT_REWARD
    other = ~torch.isnan(reward) & (reward != 0) & ((reward - 1.0).abs() > 1.0 - LEAST_RIGHT_REWARD)
    found = (context or Context()).reduce(other.sum())
    return None if bool(found) else right
