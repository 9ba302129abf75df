"""TRL: `EntropyGRPOTrainer` is `GRPOTrainer` with one more argument, ``recipe``."""

from ..versions import require

require("trl", "transformers")

from ..guard import EntropyGuard
from .account import EntropyAccountCallback
from .batch import GenerationBatch
from .episodes import EpisodeRollout
from .from_config import trl_recipe
from .mix import only_for, replay_mix
from .options import OPTIONS
from .prompts import success_counts
from .radius import RadiusCallback, RadiusOptions
from .rewards import RewardError
from .trainer import EntropyGRPOTrainer

__all__ = [
    "OPTIONS",
    "EntropyAccountCallback",
    "EntropyGRPOTrainer",
    "EntropyGuard",
    "EpisodeRollout",
    "GenerationBatch",
    "RadiusCallback",
    "RadiusOptions",
    "RewardError",
    "only_for",
    "replay_mix",
    "success_counts",
    "trl_recipe",
]
