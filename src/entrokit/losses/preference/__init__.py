"""Utilities, the preferences that a likelihood teaches them, and what makes probabilities and decisions of them.

Utility-Probability Duality of Neural Networks (arXiv 2305.14859): a network trained by maximum likelihood is read as a
utility function, of which only the order of outputs counts; a map then makes probabilities of utilities. Of the paper
its abstract and opening page were available to us, and none of its equations. The preference form of the gradient and
what is said of margins are theorems of the softmax; utilities of sequences, the diagnostics and the map are
reconstructions, and named so where they are documented.
"""

from .candidates import Candidates, candidate_lists, stack_candidates
from .decisions import expected_gain, gain_matrix, mbr_decision, sample_decision
from .gradient import preference_gradient_weights, preference_loss, sampled_preference_loss
from .mapping import UtilityToProbability
from .ordinal import argmax_decision, pairwise_preference_accuracy, preference_margin, preference_rate
from .reliability import Reliability, pool_reliability, reliability
from .sequences import pad_utilities, sequence_utility

__all__ = [
    "Candidates",
    "Reliability",
    "UtilityToProbability",
    "argmax_decision",
    "candidate_lists",
    "expected_gain",
    "gain_matrix",
    "mbr_decision",
    "pad_utilities",
    "pairwise_preference_accuracy",
    "pool_reliability",
    "preference_gradient_weights",
    "preference_loss",
    "preference_margin",
    "preference_rate",
    "reliability",
    "sample_decision",
    "sampled_preference_loss",
    "sequence_utility",
    "stack_candidates",
]
