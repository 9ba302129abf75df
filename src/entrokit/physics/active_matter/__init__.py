"""Where a system out of equilibrium makes entropy: scores of stationary laws, probability flows, active particles."""

from .box import box_half_width, nearest_neighbors, pairs_within, wrap
from .divergence import divergence, jacobian_diagonal
from .flow import (
    Estimate,
    entropy_production_rate,
    epr_by_coordinate,
    epr_without_score,
    estimate,
    local_epr,
    probability_flow,
    stationarity,
)
from .forces import SoftRepulsion
from .losses import denoising_loss, score_matching_loss, stationary_residual
from .particle_score import ParticleScore
from .particles import ActiveBrownian, ActiveOrnsteinUhlenbeck
from .references import DrivenRing, OUReference, SwirlingDoubleWell, ou_reference
from .simulation import simulate
from .training import ScoreTrainer
from .transformer import ParticleScoreTransformer

__all__ = [
    "ActiveBrownian",
    "ActiveOrnsteinUhlenbeck",
    "DrivenRing",
    "Estimate",
    "OUReference",
    "ParticleScore",
    "ParticleScoreTransformer",
    "ScoreTrainer",
    "SoftRepulsion",
    "SwirlingDoubleWell",
    "box_half_width",
    "denoising_loss",
    "divergence",
    "entropy_production_rate",
    "epr_by_coordinate",
    "epr_without_score",
    "estimate",
    "jacobian_diagonal",
    "local_epr",
    "nearest_neighbors",
    "ou_reference",
    "pairs_within",
    "probability_flow",
    "score_matching_loss",
    "simulate",
    "stationarity",
    "stationary_residual",
    "wrap",
]
