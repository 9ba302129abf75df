"""The cross-entropy method: probabilities of rare events, and minimisation, by samplers refitted to their best draws.

Textbook method; Analysis on Riemann Hypothesis with Cross Entropy Optimization and Reasoning (arXiv 2409.19790)
searches zeros of the zeta function with it.
"""

from .estimate import Level, RareEvent, estimate_probability
from .gaussians import DiagonalGaussian, Gaussian, ShiftedGaussian
from .minimize import Minimum, Step, cross_entropy_minimize
from .mixture import Mixture
from .protocol import EmptyEliteError, Sampler
from .rare import StallWarning, UncoveredWarning, cross_entropy_probability
from .samplers import Bernoulli, Categorical, Exponential
from .tails import HeavyTailWarning

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiagonalGaussian",
    "EmptyEliteError",
    "Exponential",
    "Gaussian",
    "HeavyTailWarning",
    "Level",
    "Minimum",
    "Mixture",
    "RareEvent",
    "Sampler",
    "ShiftedGaussian",
    "StallWarning",
    "Step",
    "UncoveredWarning",
    "cross_entropy_minimize",
    "cross_entropy_probability",
    "estimate_probability",
]
