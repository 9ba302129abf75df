"""Credit scorecards: evidence with honest errors, and scikit-learn estimators; needs ``entrokit[information]``."""

from importlib.util import find_spec

if find_spec("sklearn") is None:
    raise ImportError("entrokit.information.credit needs scikit-learn: pip install 'entrokit[information]'")

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
