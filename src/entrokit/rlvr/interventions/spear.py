"""SPEAR (arXiv 2509.22601) as a whole: Clip-Cov, a reward for tools that fades, and self-imitation."""

from ..card import Card, Preset

__all__ = ["SPEAR"]

SPEAR = Preset(
    "spear",
    "dr_grpo(clip_high=0.28, dual_clip=None)+clip-cov(ratio=0.02, high=40.0, scope='micro')+tool-reward+self-imitation",
    Card("2509.22601", examples=("spear",), not_ranked="its parts are ranked one by one"),
)
