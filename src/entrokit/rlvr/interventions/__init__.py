"""Interventions, one file per paper.

`INTERVENTIONS` is what a recipe string can name; `PRESETS` are papers that are a whole recipe.
"""

from ..intervention import Intervention
from .aepo_kl import AEPOKL
from .aepo_reward import AEPOReward
from .arm import ARM
from .canon import Canon
from .covariance import ClipCov, KLCov
from .dispo import DISPO, dispo_loss
from .empg import EMPG
from .entropy_bonus import EntropyBonus
from .entropy_discriminator import ClipB, ClipV
from .epo import EPO
from .epo_official import OfficialEPO
from .exchange import PerplexityShaping, PositionShaping
from .forking_tokens import ForkingTokens
from .hapo import AdaptiveClip, AdaptiveTemperature, RedistributeAdvantage, TokenGroupAverage
from .light_if import TokenEntropyAdaptive
from .pear import Pear
from .recap import DynamicObjectiveWeights, Recap, combine_rewards
from .reference_kl import ReferenceKL, RewardKL
from .self_imitation import SelfImitation
from .siren import SelfAnchoredEntropyLoss, Siren
from .steer import Steer
from .tool_reward import ToolReward
from .weighted_grpo import WeightedGRPO

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
    "combine_rewards",
    "dispo_loss",
]
