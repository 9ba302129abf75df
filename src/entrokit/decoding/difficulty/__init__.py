"""DiffAdapt (arXiv 2510.19669): a probe on the prompt's hidden state chooses how each question is answered."""

from .probe import (
    STRATEGIES,
    DifficultyProbe,
    Strategy,
    generation_entropy,
    label_difficulty,
    prefill_states,
    route,
    u_shape_report,
)
from .routed import RoutedAnswer, generate_routed

__all__ = [
    "STRATEGIES",
    "DifficultyProbe",
    "RoutedAnswer",
    "Strategy",
    "generate_routed",
    "generation_entropy",
    "label_difficulty",
    "prefill_states",
    "route",
    "u_shape_report",
]
