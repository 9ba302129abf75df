"""Interventions, one file per paper.

`INTERVENTIONS` is what a recipe string can name; `PRESETS` are papers that are a whole recipe.
"""

from ..intervention import Intervention
from .covariance import ClipCov, KLCov
from .dispo import DISPO, dispo_loss
from .entropy_discriminator import ClipB, ClipV
from .forking_tokens import ForkingTokens
from .hapo import AdaptiveClip, AdaptiveTemperature, RedistributeAdvantage, TokenGroupAverage
from .reference_kl import ReferenceKL
from .steer import Steer

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
        ReferenceKL,
    )
}

PRESETS: dict[str, str] = {
    "hapo": "dapo(clip_high=0.2, dual_clip=10.0)"
    "+adaptive-temperature+token-group-average+adaptive-clip+redistribute-advantage",
}

__all__ = [
    "DISPO",
    "INTERVENTIONS",
    "PRESETS",
    "AdaptiveClip",
    "AdaptiveTemperature",
    "ClipB",
    "ClipCov",
    "ClipV",
    "ForkingTokens",
    "KLCov",
    "RedistributeAdvantage",
    "ReferenceKL",
    "Steer",
    "TokenGroupAverage",
    "dispo_loss",
]
