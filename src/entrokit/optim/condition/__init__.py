"""Condition numbers of a model's matrices, which of them to train by it, and the arms that such a choice is held to."""

from .arms import control_arms
from .cache import SpectrumCache
from .freeze import freeze_except
from .gaussian import gaussian_condition_number, relative_to_gaussian
from .measure import MatrixCondition, condition_numbers, measure_matrices
from .peft_targets import PeftTargets, peft_targets
from .selection import select_by_condition
from .spectrum import condition_number, singular_values
from .volumes import linear_gaussian_entropy, linear_gaussian_information, log_volume, normalized_log_volume

__all__ = [
    "MatrixCondition",
    "PeftTargets",
    "SpectrumCache",
    "condition_number",
    "condition_numbers",
    "control_arms",
    "freeze_except",
    "gaussian_condition_number",
    "linear_gaussian_entropy",
    "linear_gaussian_information",
    "log_volume",
    "measure_matrices",
    "normalized_log_volume",
    "peft_targets",
    "relative_to_gaussian",
    "select_by_condition",
    "singular_values",
]
