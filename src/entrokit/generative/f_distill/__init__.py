"""A one-step generator out of a diffusion model, by any f-divergence (f-distill, arXiv 2502.15681).

Distribution matching by reverse KL (DMD, DMD2) seeks modes. For another f-divergence the update is the same but for a
weight on every sample, a function of the density ratio of teacher to student, which the discriminator has anyhow.
"""

from .critic import approximate_r1, gan_discriminator_loss, gan_generator_loss, is_student_step, student_loss
from .divergences import DIVERGENCES, f_divergence_gradient_weight, f_weight
from .loss import f_distill_loss, vsd_loss
from .ratio import RatioNormalizer

__all__ = [
    "DIVERGENCES",
    "RatioNormalizer",
    "approximate_r1",
    "f_distill_loss",
    "f_divergence_gradient_weight",
    "f_weight",
    "gan_discriminator_loss",
    "gan_generator_loss",
    "is_student_step",
    "student_loss",
    "vsd_loss",
]
