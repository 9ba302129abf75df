"""Interventions, one file per paper; `INTERVENTIONS` is what a recipe string can name."""

from ..intervention import Intervention
from .covariance import ClipCov, KLCov
from .forking_tokens import ForkingTokens
from .reference_kl import ReferenceKL
from .steer import Steer

INTERVENTIONS: dict[str, type[Intervention]] = {
    cls.name: cls for cls in (ClipCov, KLCov, Steer, ForkingTokens, ReferenceKL)
}

__all__ = ["INTERVENTIONS", "ClipCov", "ForkingTokens", "KLCov", "ReferenceKL", "Steer"]
