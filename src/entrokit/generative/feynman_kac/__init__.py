"""Feynman-Kac correctors: annealed, multiplied, guided and rewarded diffusion, right at every time (2503.02819)."""

from .clocks import BirthDeathClocks
from .combinations import RewardTilt, anneal, cfg, product, reward_tilt
from .grid import noise_clock, time_grid
from .particles import Info, Particles, log_z_error
from .resampling import effective_sample_size, residual_resample, stratified_resample, systematic_resample
from .sampler import FKCSampler
from .schedulers import DiffusersScore, diffusers_score, scheduler_noising, scheduler_times
from .weights import fkc_drift, fkc_weight, mixed_score, tilt_weight

__all__ = [
    "BirthDeathClocks",
    "DiffusersScore",
    "FKCSampler",
    "Info",
    "Particles",
    "RewardTilt",
    "anneal",
    "cfg",
    "diffusers_score",
    "effective_sample_size",
    "fkc_drift",
    "fkc_weight",
    "log_z_error",
    "mixed_score",
    "noise_clock",
    "product",
    "residual_resample",
    "reward_tilt",
    "scheduler_noising",
    "scheduler_times",
    "stratified_resample",
    "systematic_resample",
    "tilt_weight",
    "time_grid",
]
