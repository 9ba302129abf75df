"""Scores that are gradients of energies, held to the Fokker-Planck equation: one model to sample and to simulate."""

from .experts import TimeExperts
from .loss import FokkerPlanckRegularizer, TrainingLoss, denoising_loss, equal_weight, training_loss
from .model import EnergyMLP, EnergyModel, EnergyScore, log_q_gradients, time_features
from .residual import fp_residual, fp_residual_weak, residual_along
from .sampling import sample_flow, sample_sde
from .shared import fp_residual_shared, score_and_residuals
from .simulate import force_of, langevin_simulate

__all__ = [
    "EnergyMLP",
    "EnergyModel",
    "EnergyScore",
    "FokkerPlanckRegularizer",
    "TimeExperts",
    "TrainingLoss",
    "denoising_loss",
    "equal_weight",
    "force_of",
    "fp_residual",
    "fp_residual_shared",
    "fp_residual_weak",
    "langevin_simulate",
    "log_q_gradients",
    "residual_along",
    "sample_flow",
    "sample_sde",
    "score_and_residuals",
    "time_features",
    "training_loss",
]
