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
from .cold_start import select_cold_start
from .context import Context
from .intervention import Intervention, Penalty, Weighting, stages_of
from .interventions import (
    AEPOKL,
    ARM,
    EMPG,
    EPO,
    INTERVENTIONS,
    PRESETS,
    AdaptiveClip,
    AdaptiveTemperature,
    AEPOReward,
    Canon,
    ClipB,
    ClipCov,
    ClipV,
    ForkingTokens,
    KLCov,
    OfficialEPO,
    Pear,
    PerplexityShaping,
    PositionShaping,
    Recap,
    RedistributeAdvantage,
    ReferenceKL,
    RewardKL,
    SelfAnchoredEntropyLoss,
    SelfImitation,
    Siren,
    Steer,
    TokenEntropyAdaptive,
    TokenGroupAverage,
    ToolReward,
    WeightedGRPO,
    dispo_loss,
)
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
    "AEPOKL",
    "AGGREGATIONS",
    "ARM",
    "BASES",
    "EMPG",
    "EPO",
    "INTERVENTIONS",
    "PRESETS",
    "AEPOReward",
    "AdaptiveClip",
    "AdaptiveTemperature",
    "Base",
    "Canon",
    "Clip",
    "ClipB",
    "ClipCov",
    "ClipV",
    "Context",
    "ForkingTokens",
    "Intervention",
    "KLCov",
    "OfficialEPO",
    "Pear",
    "Penalty",
    "PerplexityShaping",
    "PolicyStats",
    "PositionShaping",
    "Recap",
    "Recipe",
    "RecipeLoss",
    "RedistributeAdvantage",
    "ReferenceKL",
    "RewardKL",
    "Rollouts",
    "RunningRarePair",
    "SelfAnchoredEntropyLoss",
    "SelfImitation",
    "Siren",
    "Steer",
    "StepMeans",
    "TokenEntropyAdaptive",
    "TokenGroupAverage",
    "ToolReward",
    "Totals",
    "TrajectoryBuffer",
    "Turns",
    "Update",
    "WeightedGRPO",
    "Weighting",
    "aggregate",
    "cispo_loss",
    "dispo_loss",
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
