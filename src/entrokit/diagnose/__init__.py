"""Floor 5: explains where entropy and accuracy went.

`diagnose` reads a run and says what happened; the rest is what it is made of, for use on its own.
"""

from .account import QUADRANTS, Part, StepAccount, TokenShare, correlation, free_logit_change, quadrant, split
from .boundary import Boundary, boundary_of
from .coverage import Interval, detection_threshold, pass_at_k, pass_at_k_curve, pass_at_k_interval
from .diagnosis import Diagnosis, accounts_of, diagnose
from .finding import VERDICTS, Finding
from .first_order import entropy_change
from .law import EntropyRewardLaw, LawOfRun, fit_entropy_reward_law, law_of_run
from .matched import Course, at_level, training_course
from .paired import PairedDifference, paired_difference, what_is_shown
from .remedies import Remedy
from .reward_map import (
    argmax_sets,
    greedy_policy,
    optimal_q,
    policy_sensitivity,
    soft_optimal,
    tie_breaker,
    tv_lipschitz_bound,
)
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
from .verdicts import RULES
from .waterfall import Bar, Waterfall, waterfall_of

__all__ = [
    "QUADRANTS",
    "RULES",
    "VERDICTS",
    "Bar",
    "Boundary",
    "Course",
    "Diagnosis",
    "EntropyRewardLaw",
    "Finding",
    "Interval",
    "LawOfRun",
    "PairedDifference",
    "Part",
    "Remedy",
    "StepAccount",
    "SupportReport",
    "Thresholds",
    "TokenShare",
    "Waterfall",
    "accounts_of",
    "answer_entropy",
    "argmax_sets",
    "at_level",
    "beta_for_target",
    "boundary_of",
    "correlation",
    "detection_threshold",
    "diagnose",
    "empirical_support",
    "entropy_change",
    "fit_entropy_reward_law",
    "free_logit_change",
    "greedy_policy",
    "law_of_run",
    "net_change_interval",
    "optimal_q",
    "paired_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_interval",
    "policy_sensitivity",
    "quadrant",
    "reward_tilt",
    "soft_optimal",
    "split",
    "support_dynamics",
    "tie_breaker",
    "token_entropy",
    "training_course",
    "tv_lipschitz_bound",
    "waterfall_of",
    "what_is_shown",
]
