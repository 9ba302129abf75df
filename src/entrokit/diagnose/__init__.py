"""Floor 5: explains where entropy and accuracy went."""

from .coverage import pass_at_k
from .first_order import entropy_change
from .law import EntropyRewardLaw, fit_entropy_reward_law
from .matched import Course, at_level, training_course
from .paired import PairedDifference, paired_difference

__all__ = [
    "Course",
    "EntropyRewardLaw",
    "PairedDifference",
    "at_level",
    "entropy_change",
    "fit_entropy_reward_law",
    "paired_difference",
    "pass_at_k",
    "training_course",
]
