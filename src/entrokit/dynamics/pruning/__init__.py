"""Three regimes of pruning: how copies retrained from one pruned network are connected, how alike they answer."""

from .connectivity import Path, linear_mode_connectivity, path_connectivity, refresh_batch_norm
from .magnitude import density_of, prune_magnitude
from .probe import Probe, choose_dense, probe_pruning
from .regime import Regime, RegimeDiagram, advise_temperature, classify_regime
from .sam import sam_step
from .similarity import agreement, linear_cka, mean_jensen_shannon

__all__ = [
    "Path",
    "Probe",
    "Regime",
    "RegimeDiagram",
    "advise_temperature",
    "agreement",
    "choose_dense",
    "classify_regime",
    "density_of",
    "linear_cka",
    "linear_mode_connectivity",
    "mean_jensen_shannon",
    "path_connectivity",
    "probe_pruning",
    "prune_magnitude",
    "refresh_batch_norm",
    "sam_step",
]
