"""Schools of fish: seven entropies, order parameters, the Couzin zone model, tracked data (arXiv 2602.07948)."""

from .couzin import CouzinModel, Trajectory
from .entropies import SchoolEntropies, polarization_entropy, school_entropies
from .headings import SolidAngle
from .histogram import Correction
from .index import INDEX_WEIGHTS, oceanic_schooling_index
from .order import centroid, from_centroid, order_index, polarization, rotation, spread
from .presets import PRESETS, Preset
from .series import SchoolSeries, school_series, second_half
from .tracks import Gaps, Tracks, load_tracks
from .turning import Turn, turned
from .zones import Zones

__all__ = [
    "INDEX_WEIGHTS",
    "PRESETS",
    "Correction",
    "CouzinModel",
    "Gaps",
    "Preset",
    "SchoolEntropies",
    "SchoolSeries",
    "SolidAngle",
    "Tracks",
    "Trajectory",
    "Turn",
    "Zones",
    "centroid",
    "from_centroid",
    "load_tracks",
    "oceanic_schooling_index",
    "order_index",
    "polarization",
    "polarization_entropy",
    "rotation",
    "school_entropies",
    "school_series",
    "second_half",
    "spread",
    "turned",
]
