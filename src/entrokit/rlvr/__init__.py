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
from .interventions import INTERVENTIONS, ClipCov, ForkingTokens, KLCov, ReferenceKL, Steer
from .recipe import Recipe, RecipeLoss, recipe
from .rollouts import Rollouts
from .stats import PolicyStats
from .surrogates import cispo_loss, gspo_loss, policy_gradient_loss, ppo_clip_loss
from .update import Update

__all__ = [
    "AGGREGATIONS",
    "BASES",
    "INTERVENTIONS",
    "Base",
    "ClipCov",
    "Context",
    "ForkingTokens",
    "Intervention",
    "KLCov",
    "PolicyStats",
    "Recipe",
    "RecipeLoss",
    "ReferenceKL",
    "Rollouts",
    "Steer",
    "Totals",
    "Update",
    "Weighting",
    "aggregate",
    "cispo_loss",
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
