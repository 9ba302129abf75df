"""Weighted conditional flow matching: straighter paths at the cost of independent pairs (2507.22270)."""

from .costs import Cost, cost_matrix, pair_costs
from .matcher import WeightedConditionalFlowMatcher
from .potentials import SinkhornFactor, sinkhorn_potentials
from .select import epsilon_within, select_epsilon
from .tilt import Tilt, tilt_diagnostics
from .weights import Normalize, Potentials, effective_share, gibbs_weights, weighted_flow_loss

__all__ = [
    "Cost",
    "Normalize",
    "Potentials",
    "SinkhornFactor",
    "Tilt",
    "WeightedConditionalFlowMatcher",
    "cost_matrix",
    "effective_share",
    "epsilon_within",
    "gibbs_weights",
    "pair_costs",
    "select_epsilon",
    "sinkhorn_potentials",
    "tilt_diagnostics",
    "weighted_flow_loss",
]
