"""Floor 5: explains where entropy and accuracy went.

`diagnose` reads a run and says what happened; the rest is what it is made of, for use on its own.
"""

from entrokit.moved import by_name, moved_names

from .boundary import Boundary, boundary_of
from .coverage import Interval, detection_threshold, pass_at_k, pass_at_k_curve, pass_at_k_interval
from .diagnosis import Diagnosis, accounts_of, diagnose
from .finding import VERDICTS, Finding
from .guard import Guard
from .law import EntropyRewardLaw, LawOfRun, fit_entropy_reward_law, law_of_run, law_words
from .matched import Course, at_level, training_course
from .paired import PairedDifference, paired_difference, what_is_shown
from .remedies import Remedy
from .scale import RewardScale
from .support import (
    SupportReport,
    answer_entropy,
    beta_for_target,
    empirical_support,
    net_change_interval,
    reward_tilt,
    support_dynamics,
    token_entropy,
)
from .thresholds import Thresholds
from .two_runs.beside import beside
from .two_runs.comparison import Apart, Comparison, OneBroken
from .verdicts import RULES
from .waterfall import Bar, Waterfall, clipping_said, waterfall_of

_BEFORE = {
    "entrokit.runs": "QUADRANTS Part StepAccount correlation",
    "entrokit.account": "TokenShare free_logit_change quadrant split",
    "entrokit.dynamics.first_order": "entropy_change",
    "entrokit.choice.reward_map": (
        "argmax_sets greedy_policy optimal_q policy_sensitivity soft_optimal tie_breaker tv_lipschitz_bound"
    ),
}

__getattr__ = moved_names(__name__, by_name(_BEFORE))

__all__ = [
    "RULES",
    "VERDICTS",
    "Apart",
    "Bar",
    "Boundary",
    "Comparison",
    "Course",
    "Diagnosis",
    "EntropyRewardLaw",
    "Finding",
    "Guard",
    "Interval",
    "LawOfRun",
    "OneBroken",
    "PairedDifference",
    "Remedy",
    "RewardScale",
    "SupportReport",
    "Thresholds",
    "Waterfall",
    "accounts_of",
    "answer_entropy",
    "at_level",
    "beside",
    "beta_for_target",
    "boundary_of",
    "clipping_said",
    "detection_threshold",
    "diagnose",
    "empirical_support",
    "fit_entropy_reward_law",
    "law_of_run",
    "law_words",
    "net_change_interval",
    "paired_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_interval",
    "reward_tilt",
    "support_dynamics",
    "token_entropy",
    "training_course",
    "waterfall_of",
    "what_is_shown",
]
