"""Regimes of SGD: runs to the last fitted point over α, T and P, their power laws, and a perceptron that has them."""

from .diagram import PhaseDiagram, phase_diagram
from .fits import PowerLaw, critical_temperature, fit_power_law
from .loss import learning_rate, scaled_hinge, temperature
from .nets import MeanFieldMLP
from .observables import gradient_noise_covariance, gradient_statistics, kernel_change, signal_noise, tangent_gram
from .perceptron import PerceptronRuns, depleted_sign, train_perceptrons
from .records import Checkpoint, Condition, Run, grid
from .runner import NoiseRegimeRunner
from .theory import PerceptronTheory

__all__ = [
    "Checkpoint",
    "Condition",
    "MeanFieldMLP",
    "NoiseRegimeRunner",
    "PerceptronRuns",
    "PerceptronTheory",
    "PhaseDiagram",
    "PowerLaw",
    "Run",
    "critical_temperature",
    "depleted_sign",
    "fit_power_law",
    "gradient_noise_covariance",
    "gradient_statistics",
    "grid",
    "kernel_change",
    "learning_rate",
    "phase_diagram",
    "scaled_hinge",
    "signal_noise",
    "tangent_gram",
    "temperature",
    "train_perceptrons",
]
