"""Where to put one number for many: rules for votes on a line, how fair they are and who can game them (2111.01566).

There is no entropy in this topic. It is here for whoever has to choose one scalar, such as a temperature or a target of
entropy, for several objectives, workers or tasks, each with a wish of its own.
"""

from .deviations import Gains
from .equilibria import Equilibrium, best_response_equilibrium
from .fairness import FairnessReport, fair_interval, fairness_report
from .manipulation import Manipulation, find_manipulation, manipulability, per_profile
from .mechanisms import (
    average,
    constrained_median,
    median,
    midpoint,
    order_statistic,
    phantom_median,
    uniform_phantom,
)
from .ratios import best_welfare_ratio, cost_ratio, grid_profiles, total_cost, welfare, welfare_ratio, worst_cost_ratio
from .reports import Mechanism, ReportError

__all__ = [
    "Equilibrium",
    "FairnessReport",
    "Gains",
    "Manipulation",
    "Mechanism",
    "ReportError",
    "average",
    "best_response_equilibrium",
    "best_welfare_ratio",
    "constrained_median",
    "cost_ratio",
    "fair_interval",
    "fairness_report",
    "find_manipulation",
    "grid_profiles",
    "manipulability",
    "median",
    "midpoint",
    "order_statistic",
    "per_profile",
    "phantom_median",
    "total_cost",
    "uniform_phantom",
    "welfare",
    "welfare_ratio",
    "worst_cost_ratio",
]
