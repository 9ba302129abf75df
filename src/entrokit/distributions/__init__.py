"""Floor 1: entropies, divergences and per-token statistics of categorical distributions. Depends on torch alone."""

from .divergences import (
    cross_entropy,
    entropy,
    jeffreys_divergence,
    jensen_shannon_divergence,
    kl_divergence,
    renyi_divergence,
    renyi_entropy,
)
from .token_statistics import STATISTICS, TokenStatistics, token_statistics

__all__ = [
    "STATISTICS",
    "TokenStatistics",
    "cross_entropy",
    "entropy",
    "jeffreys_divergence",
    "jensen_shannon_divergence",
    "kl_divergence",
    "renyi_divergence",
    "renyi_entropy",
    "token_statistics",
]
