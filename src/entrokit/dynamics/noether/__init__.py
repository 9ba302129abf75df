"""Noether's Learning Dynamics: symmetries of a loss, charges of a run, and norms that follow from them."""

from .finder import find_symmetries
from .kinetics import (
    EquivalentRMSProp,
    effective_lr,
    equilibrium_norm_sq,
    equivalent_rmsprop,
    friction,
    mass,
)
from .law import Balance
from .monitor import NoetherMonitor
from .norms import lagrangian_residual, predict_norm_sq, predict_norm_sq_from_velocity
from .symmetry import Part, Symmetry, check_symmetry, symmetry_breaking
from .trainer import noether_callback

__all__ = [
    "Balance",
    "EquivalentRMSProp",
    "NoetherMonitor",
    "Part",
    "Symmetry",
    "check_symmetry",
    "effective_lr",
    "equilibrium_norm_sq",
    "equivalent_rmsprop",
    "find_symmetries",
    "friction",
    "lagrangian_residual",
    "mass",
    "noether_callback",
    "predict_norm_sq",
    "predict_norm_sq_from_velocity",
    "symmetry_breaking",
]
