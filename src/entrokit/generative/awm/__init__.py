"""Advantage Weighted Matching: a flow or diffusion model tuned to a reward by its own pretraining loss (2509.25050)."""

from .advantages import group_advantages
from .average import trust_region_decay, update_average
from .ddpo import ddpo_step, ddpo_step_logp, ddpo_target_score, score_of_velocity, target_variance
from .loss import PRESETS, AWMLoss
from .matching import interpolate, matching_logp
from .samplers import Trajectory, sample_ode, sample_sde
from .times import training_times

__all__ = [
    "PRESETS",
    "AWMLoss",
    "Trajectory",
    "ddpo_step",
    "ddpo_step_logp",
    "ddpo_target_score",
    "group_advantages",
    "interpolate",
    "matching_logp",
    "sample_ode",
    "sample_sde",
    "score_of_velocity",
    "target_variance",
    "training_times",
    "trust_region_decay",
    "update_average",
]
