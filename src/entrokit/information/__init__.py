"""Floor 2: measures and methods of information."""

from .bottleneck import (
    BottleneckCoupling,
    bottleneck_coupling,
    ebim_refine,
    greedy_ebim,
    joint_of,
    merge_loss_bits,
    quantize,
)
from .coupling import GREEDY_GAP_BITS, Coupling, majorization_bound_bits, min_entropy_coupling
from .grid_world import GridWorld, soft_policy, soft_q
from .ion_channel import IonChannel, poisson, pore_count
from .markov_coding_game import MarkovCodingGame, play
from .maximum_entropy import InfeasibleError, MaxEntModel
from .pmf import entropy_bits, information_bits
from .process_ensemble import ProcessEnsemble, entropy_production

__all__ = [
    "GREEDY_GAP_BITS",
    "BottleneckCoupling",
    "Coupling",
    "GridWorld",
    "InfeasibleError",
    "IonChannel",
    "MarkovCodingGame",
    "MaxEntModel",
    "ProcessEnsemble",
    "bottleneck_coupling",
    "ebim_refine",
    "entropy_bits",
    "entropy_production",
    "greedy_ebim",
    "information_bits",
    "joint_of",
    "majorization_bound_bits",
    "merge_loss_bits",
    "min_entropy_coupling",
    "play",
    "poisson",
    "pore_count",
    "quantize",
    "soft_policy",
    "soft_q",
]
