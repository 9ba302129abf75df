"""Floor 3: reinforcement learning with verifiable rewards. A recipe says how a batch of rollouts becomes a loss."""

from .advantages import (
    dr_grpo_advantages,
    grpo_advantages,
    reinforce_plus_plus_advantages,
    reinforce_plus_plus_baseline_advantages,
    rloo_advantages,
)
from .aggregation import AGGREGATIONS, Totals, aggregate
from .bases import BASES, Base
from .context import Context
from .intervention import Intervention, Weighting, stages_of
from .interventions import (
    INTERVENTIONS,
    PRESETS,
    AdaptiveClip,
    AdaptiveTemperature,
    ClipB,
    ClipCov,
    ClipV,
    ForkingTokens,
    KLCov,
    RedistributeAdvantage,
    ReferenceKL,
    Steer,
    TokenGroupAverage,
    dispo_loss,
)
from .recipe import Recipe, RecipeLoss, recipe
from .rollouts import Rollouts
from .stats import PolicyStats
from .surrogates import Clip, cispo_loss, gspo_loss, policy_gradient_loss, ppo_clip_loss
from .update import Update

__all__ = [
    "AGGREGATIONS",
    "BASES",
    "INTERVENTIONS",
    "PRESETS",
    "AdaptiveClip",
    "AdaptiveTemperature",
    "Base",
    "Clip",
    "ClipB",
    "ClipCov",
    "ClipV",
    "Context",
    "ForkingTokens",
    "Intervention",
    "KLCov",
    "PolicyStats",
    "Recipe",
    "RecipeLoss",
    "RedistributeAdvantage",
    "ReferenceKL",
    "Rollouts",
    "Steer",
    "TokenGroupAverage",
    "Totals",
    "Update",
    "Weighting",
    "aggregate",
    "cispo_loss",
    "dispo_loss",
    "dr_grpo_advantages",
    "grpo_advantages",
    "gspo_loss",
    "policy_gradient_loss",
    "ppo_clip_loss",
    "recipe",
    "reinforce_plus_plus_advantages",
    "reinforce_plus_plus_baseline_advantages",
    "rloo_advantages",
    "stages_of",
]
