"""A confusion matrix that can be differentiated, metrics of it as losses, and the threshold after training (AnyLoss,
arXiv 2405.14745).

The classifier in the manner of scikit-learn is `entrokit.losses.anyloss.estimator.AnyLossClassifier`; it alone needs
scikit-learn.
"""

from .confusion import Confusion, amplify, hard_confusion, soft_confusion
from .loss import AnyLoss
from .scores import accuracy, balanced_accuracy, f_beta, g_mean
from .threshold import TunedThreshold, tune_threshold

__all__ = [
    "AnyLoss",
    "Confusion",
    "TunedThreshold",
    "accuracy",
    "amplify",
    "balanced_accuracy",
    "f_beta",
    "g_mean",
    "hard_confusion",
    "soft_confusion",
    "tune_threshold",
]
