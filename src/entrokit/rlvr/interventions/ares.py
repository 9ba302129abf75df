"""ARES (arXiv 2510.08457) as a whole: difficulty-aware window entropy in the reward and in the KL term."""

from ..card import Card, OnBenches, Preset

__all__ = ["ARES"]

ARES = Preset(
    "ares",
    "dapo(clip_high=0.3)+aepo-reward+aepo-kl",
    Card(
        "2510.08457",
        examples=("ares",),
        benches=OnBenches(
            tuned="dapo(clip_high=0.3)+aepo-reward(window=2)+aepo-kl(beta=0.2, window=2)",
            impossible_on={"tabular": "there is no reference policy"},
        ),
    ),
)
