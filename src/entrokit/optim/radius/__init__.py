"""The Taylor radius of cross-entropy: how long a step may be, and an optimiser's steps held to it."""

from .activations import GaussGLU, ria
from .callback import radius_callback
from .clip import RadiusClip
from .divergence import KLStep, kl_step_bounds
from .exact import exact_radius
from .language import linear_logit_spread
from .meter import StepMeter, StepRadius
from .radii import activation_radius, binary_radius, slope_spread, taylor_radius, top_two_radius
from .spread import logit_spread, normalized_step

__all__ = [
    "GaussGLU",
    "KLStep",
    "RadiusClip",
    "StepMeter",
    "StepRadius",
    "activation_radius",
    "binary_radius",
    "exact_radius",
    "kl_step_bounds",
    "linear_logit_spread",
    "logit_spread",
    "normalized_step",
    "radius_callback",
    "ria",
    "slope_spread",
    "taylor_radius",
    "top_two_radius",
]
