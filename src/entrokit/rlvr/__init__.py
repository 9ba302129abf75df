"""Floor 3: reinforcement learning with verifiable rewards. A recipe says how a batch of rollouts becomes a loss."""

from typing import Any

from . import interventions
from .advantages import (
    dr_grpo_advantages,
    grpo_advantages,
    reinforce_plus_plus_advantages,
    reinforce_plus_plus_baseline_advantages,
    rloo_advantages,
)
from .aggregation import AGGREGATIONS, Totals, aggregate
from .bases import BASES, Base
from .cold_start import select_cold_start
from .context import Context
from .intervention import Intervention, Penalty, Weighting, stages_of
from .interventions import INTERVENTIONS, PRESETS
from .policy_loss import policy_loss
from .recipe import Recipe, RecipeLoss, recipe
from .replay import TrajectoryBuffer
from .rollouts import Rollouts
from .selection import RunningRarePair, rare_pair
from .stats import PolicyStats
from .step_means import StepMeans
from .surrogates import Clip, cispo_loss, gspo_loss, policy_gradient_loss, ppo_clip_loss
from .turns import Turns
from .update import Update
from .windows import hwe_mask, window_entropy

__all__ = [
    "AGGREGATIONS",
    "BASES",
    "INTERVENTIONS",
    "PRESETS",
    "Base",
    "Clip",
    "Context",
    "Intervention",
    "Penalty",
    "PolicyStats",
    "Recipe",
    "RecipeLoss",
    "Rollouts",
    "RunningRarePair",
    "StepMeans",
    "Totals",
    "TrajectoryBuffer",
    "Turns",
    "Update",
    "Weighting",
    "aggregate",
    "cispo_loss",
    "dr_grpo_advantages",
    "grpo_advantages",
    "gspo_loss",
    "hwe_mask",
    "policy_gradient_loss",
    "policy_loss",
    "ppo_clip_loss",
    "rare_pair",
    "recipe",
    "reinforce_plus_plus_advantages",
    "reinforce_plus_plus_baseline_advantages",
    "rloo_advantages",
    "select_cold_start",
    "stages_of",
    "window_entropy",
]


def __getattr__(name: str) -> Any:
    """Public names of methods, which this package gave before they had files of their own to be found in."""
    try:
        return interventions.__getattr__(name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return [*globals(), *dir(interventions)]
