"""Floor 5: explains where entropy and accuracy went."""

from .coverage import pass_at_k
from .first_order import entropy_change
from .law import EntropyRewardLaw, fit_entropy_reward_law
from .matched import at_level

__all__ = ["EntropyRewardLaw", "at_level", "entropy_change", "fit_entropy_reward_law", "pass_at_k"]
