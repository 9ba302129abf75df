"""Interventions, one file per paper.

`INTERVENTIONS` is what a recipe string can name; `PRESETS` are papers that are a whole recipe.
"""

from ..intervention import Intervention
from .aepo_kl import AEPOKL
from .aepo_reward import AEPOReward
from .arm import ARM, arm_advantage, low_prob_confidence
from .canon import Canon, canon_advantage, canon_mu_schedule
from .covariance import ClipCov, KLCov, token_covariance
from .dispo import DISPO, dispo_loss
from .empg import EMPG, empg_advantages
from .entropy_bonus import EntropyBonus
from .entropy_discriminator import ClipB, ClipV, entropy_discriminator, predicted_entropy_change
from .epo import EPO, corridor_penalty, epo_beta
from .epo_official import OfficialEPO
from .exchange import PerplexityShaping, PositionShaping
from .forking_tokens import ForkingTokens, high_entropy_mask
from .hapo import AdaptiveClip, AdaptiveTemperature, RedistributeAdvantage, TokenGroupAverage
from .light_if import TokenEntropyAdaptive, tea_coefficients
from .pear import Pear, pear_reward, phase_entropy
from .recap import DynamicObjectiveWeights, Recap, combine_rewards
from .reference_kl import ReferenceKL, RewardKL
from .self_imitation import SelfImitation, recalibrate_advantages
from .siren import SelfAnchoredEntropyLoss, Siren, peak_entropy_mask
from .steer import Steer, entropy_change, steer_weights
from .tool_reward import ToolReward
from .weighted_grpo import WeightedGRPO, select_pair

INTERVENTIONS: dict[str, type[Intervention]] = {
    cls.name: cls
    for cls in (
        ClipCov,
        KLCov,
        Steer,
        ForkingTokens,
        ClipB,
        ClipV,
        TokenGroupAverage,
        AdaptiveClip,
        RedistributeAdvantage,
        AdaptiveTemperature,
        Canon,
        ARM,
        PerplexityShaping,
        PositionShaping,
        WeightedGRPO,
        Pear,
        Siren,
        TokenEntropyAdaptive,
        ReferenceKL,
        RewardKL,
        EntropyBonus,
        EPO,
        OfficialEPO,
        EMPG,
        Recap,
        ToolReward,
        SelfImitation,
        AEPOReward,
        AEPOKL,
    )
}

PRESETS: dict[str, str] = {
    "hapo": "dapo(clip_high=0.2, dual_clip=10.0)"
    "+adaptive-temperature+token-group-average+adaptive-clip+redistribute-advantage",
    "ares": "dapo(clip_high=0.3)+aepo-reward+aepo-kl",
    "spear": "dr_grpo(clip_high=0.28, dual_clip=None)"
    "+clip-cov(ratio=0.02, high=40.0, scope='micro')+tool-reward+self-imitation",
}

__all__ = [
    "AEPOKL",
    "ARM",
    "DISPO",
    "EMPG",
    "EPO",
    "INTERVENTIONS",
    "PRESETS",
    "AEPOReward",
    "AdaptiveClip",
    "AdaptiveTemperature",
    "Canon",
    "ClipB",
    "ClipCov",
    "ClipV",
    "DynamicObjectiveWeights",
    "EntropyBonus",
    "ForkingTokens",
    "KLCov",
    "OfficialEPO",
    "Pear",
    "PerplexityShaping",
    "PositionShaping",
    "Recap",
    "RedistributeAdvantage",
    "ReferenceKL",
    "RewardKL",
    "SelfAnchoredEntropyLoss",
    "SelfImitation",
    "Siren",
    "Steer",
    "TokenEntropyAdaptive",
    "TokenGroupAverage",
    "ToolReward",
    "WeightedGRPO",
    "arm_advantage",
    "canon_advantage",
    "canon_mu_schedule",
    "combine_rewards",
    "corridor_penalty",
    "dispo_loss",
    "empg_advantages",
    "entropy_change",
    "entropy_discriminator",
    "epo_beta",
    "high_entropy_mask",
    "low_prob_confidence",
    "peak_entropy_mask",
    "pear_reward",
    "phase_entropy",
    "predicted_entropy_change",
    "recalibrate_advantages",
    "select_pair",
    "steer_weights",
    "tea_coefficients",
    "token_covariance",
]
