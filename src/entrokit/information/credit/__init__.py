"""Credit scorecards: evidence with honest errors, and scikit-learn estimators; needs ``entrokit[information]``."""

from .encoder import WoEEncoder, WoETable
from .evidence import InformationValue, information_value, psi, woe
from .frontier import FrontPoint, pareto_front, select_features
from .scorecard import FairScorecard, Points

__all__ = [
    "FairScorecard",
    "FrontPoint",
    "InformationValue",
    "Points",
    "WoEEncoder",
    "WoETable",
    "information_value",
    "pareto_front",
    "psi",
    "select_features",
    "woe",
]
