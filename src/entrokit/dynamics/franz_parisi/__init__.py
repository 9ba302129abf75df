"""Continual learning with binary weights: a layer, its KL to earlier tasks, and the theory of both errors."""

from .binary_weights import weight_entropy, weight_kl, weight_mean, weight_variance
from .first_task import first_task_residual, solve_first_task
from .layer import BinaryVariationalLinear
from .perceptron import (
    PerceptronTask,
    PerceptronTraining,
    binary_perceptron_loss,
    fit_perceptron,
    generalization_error,
    perceptron_task,
    related_teacher,
)
from .prior import PosteriorPrior, beta_schedule
from .saddle import OrderParams, SaddlePointError
from .second_task import solve_second_task

__all__ = [
    "BinaryVariationalLinear",
    "OrderParams",
    "PerceptronTask",
    "PerceptronTraining",
    "PosteriorPrior",
    "SaddlePointError",
    "beta_schedule",
    "binary_perceptron_loss",
    "first_task_residual",
    "fit_perceptron",
    "generalization_error",
    "perceptron_task",
    "related_teacher",
    "solve_first_task",
    "solve_second_task",
    "weight_entropy",
    "weight_kl",
    "weight_mean",
    "weight_variance",
]
