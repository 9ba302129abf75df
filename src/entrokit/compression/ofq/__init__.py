"""Training of weights in 2 to 8 bits whose codes stand still at the end (OFQ, arXiv 2302.02210), and its peers."""

from .annealing import ConfidenceGuidedAnnealing
from .attention import ProductAttention, QKReparamAttention
from .entropy import code_entropy_bits
from .export import PackedWeight, pack_weight, packed_state_dict, unpacked_state_dict
from .learned_step import ActivationQuantizer, learned_step_quantize
from .model import QuantizedWeight, dequantized, quantize_model, quantized_weights
from .oscillation import OscillationMonitor, OscillationTracker
from .quantizers import LearnedStepQuantizer, MaxQuantizer, StatsQuantizer, WeightQuantizer
from .statsq import confidence_distance, stats_codes, stats_quantize, stats_scale, updatable_mask

__all__ = [
    "ActivationQuantizer",
    "ConfidenceGuidedAnnealing",
    "LearnedStepQuantizer",
    "MaxQuantizer",
    "OscillationMonitor",
    "OscillationTracker",
    "PackedWeight",
    "ProductAttention",
    "QKReparamAttention",
    "QuantizedWeight",
    "StatsQuantizer",
    "WeightQuantizer",
    "code_entropy_bits",
    "confidence_distance",
    "dequantized",
    "learned_step_quantize",
    "pack_weight",
    "packed_state_dict",
    "quantize_model",
    "quantized_weights",
    "stats_codes",
    "stats_quantize",
    "stats_scale",
    "unpacked_state_dict",
    "updatable_mask",
]
