"""Floor 1: entropies, divergences and per-token statistics of categorical distributions. Depends on torch alone."""

from .backends import Backend, backend
from .divergences import (
    cross_entropy,
    entropy,
    jeffreys_divergence,
    jensen_shannon_divergence,
    kl_divergence,
    renyi_divergence,
    renyi_entropy,
)
from .linear import linear_token_statistics
from .linear_loss import linear_token_loss
from .linear_nucleus import linear_nucleus_entropy
from .nucleus import nucleus_entropy
from .statistics import STATISTICS, TokenStatistics, nucleus_statistic
from .token_statistics import token_statistics

__all__ = [
    "STATISTICS",
    "Backend",
    "TokenStatistics",
    "backend",
    "cross_entropy",
    "entropy",
    "jeffreys_divergence",
    "jensen_shannon_divergence",
    "kl_divergence",
    "linear_nucleus_entropy",
    "linear_token_loss",
    "linear_token_statistics",
    "nucleus_entropy",
    "nucleus_statistic",
    "renyi_divergence",
    "renyi_entropy",
    "token_statistics",
]
