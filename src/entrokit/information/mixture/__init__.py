"""Mixtures under log-loss: their regret, and posterior samples that make one."""

from .langevin import LangevinSampler, PosteriorEnsemble
from .regret import (
    RegretBounds,
    effective_dimension_nats,
    hypothesis_weight,
    laplace_complexity,
    mixture_log_prob,
    mixture_regret,
    regret_bounds,
)

__all__ = [
    "LangevinSampler",
    "PosteriorEnsemble",
    "RegretBounds",
    "effective_dimension_nats",
    "hypothesis_weight",
    "laplace_complexity",
    "mixture_log_prob",
    "mixture_regret",
    "regret_bounds",
]
