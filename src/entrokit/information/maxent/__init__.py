"""Maximum entropy under moment constraints, and what statistical mechanics makes of it."""

from .ion_channel import IonChannel, poisson, pore_count
from .model import InfeasibleError, MaxEntModel
from .process_ensemble import ProcessEnsemble, entropy_production

__all__ = [
    "InfeasibleError",
    "IonChannel",
    "MaxEntModel",
    "ProcessEnsemble",
    "entropy_production",
    "poisson",
    "pore_count",
]
