"""Floor 5: explains where entropy and accuracy went."""

from .account import QUADRANTS, Part, StepAccount, TokenShare, correlation, free_logit_change, quadrant, split
from .coverage import pass_at_k
from .first_order import entropy_change
from .law import EntropyRewardLaw, fit_entropy_reward_law
from .matched import Course, at_level, training_course
from .paired import PairedDifference, paired_difference

__all__ = [
    "QUADRANTS",
    "Course",
    "EntropyRewardLaw",
    "PairedDifference",
    "Part",
    "StepAccount",
    "TokenShare",
    "at_level",
    "correlation",
    "entropy_change",
    "fit_entropy_reward_law",
    "free_logit_change",
    "paired_difference",
    "pass_at_k",
    "quadrant",
    "split",
    "training_course",
]
