"""Rich or lazy learning: how far training moves a network's weights, representation and tangent kernel."""

from .alignment import kernel_alignment, representation_alignment, sign_similarity
from .initialisers import aligned_init_, low_rank_init_, truncate_rank
from .kernel import tangent_kernel
from .linear_theory import alignment_for_task, expected_alignment, linear_flow, two_layer_kernel
from .ranks import effective_rank, spectral_radius
from .rate_rnn import RateRNN
from .tracker import LazinessTracker
from .trainer import laziness_callback

__all__ = [
    "LazinessTracker",
    "RateRNN",
    "aligned_init_",
    "alignment_for_task",
    "effective_rank",
    "expected_alignment",
    "kernel_alignment",
    "laziness_callback",
    "linear_flow",
    "low_rank_init_",
    "representation_alignment",
    "sign_similarity",
    "spectral_radius",
    "tangent_kernel",
    "truncate_rank",
    "two_layer_kernel",
]
