"""TRL: `EntropyGRPOTrainer` is `GRPOTrainer` with one more argument, ``recipe``."""

from .batch import GenerationBatch
from .options import OPTIONS, trl_recipe
from .rewards import RewardError
from .trainer import EntropyGRPOTrainer

__all__ = ["OPTIONS", "EntropyGRPOTrainer", "GenerationBatch", "RewardError", "trl_recipe"]
