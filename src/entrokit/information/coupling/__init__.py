"""Couplings of least entropy (arXiv 2410.21666), with a bottleneck between, and a game to send messages in."""

from .bottleneck import (
    BottleneckCoupling,
    bottleneck_coupling,
    ebim_refine,
    greedy_ebim,
    joint_of,
    merge_loss_bits,
    quantize,
)
from .grid_world import GridWorld, soft_policy, soft_q
from .markov_coding_game import MarkovCodingGame, play
from .min_entropy import GREEDY_GAP_BITS, Coupling, majorization_bound_bits, min_entropy_coupling
from .pmf import entropy_bits, information_bits

__all__ = [
    "GREEDY_GAP_BITS",
    "BottleneckCoupling",
    "Coupling",
    "GridWorld",
    "MarkovCodingGame",
    "bottleneck_coupling",
    "ebim_refine",
    "entropy_bits",
    "greedy_ebim",
    "information_bits",
    "joint_of",
    "majorization_bound_bits",
    "merge_loss_bits",
    "min_entropy_coupling",
    "play",
    "quantize",
    "soft_policy",
    "soft_q",
]
