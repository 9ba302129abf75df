"""Floor 2: what acts on logits while a model samples, and what chooses how it samples."""

from .adaptive_temperature import EntropyScale, EntropyTemperature, entropy_scale
from .difficulty import (
    STRATEGIES,
    DifficultyProbe,
    Strategy,
    generation_entropy,
    label_difficulty,
    prefill_states,
    route,
    u_shape_report,
)
from .fork_temperature import fork_temperature
from .routed import RoutedAnswer, generate_routed

__all__ = [
    "STRATEGIES",
    "DifficultyProbe",
    "EntropyScale",
    "EntropyTemperature",
    "RoutedAnswer",
    "Strategy",
    "entropy_scale",
    "fork_temperature",
    "generate_routed",
    "generation_entropy",
    "label_difficulty",
    "prefill_states",
    "route",
    "u_shape_report",
]
