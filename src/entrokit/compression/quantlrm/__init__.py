"""Weight-only quantisation of fine-tuned models, its important channels told by the updates of fine-tuning."""

from .block import GroupResult
from .calls import Call
from .clip_search import search_clip
from .folding import ScaleGroup, fold_scale, llama_groups
from .group_quantizer import GroupCodes, quantize_groups
from .importance import activation_importance, both_ends_score, channel_importance, update_importances
from .packed_linear import PackedLinear
from .pseudo import pseudo_fine_tune
from .quantize import QuantizationReport, QuantLRM, round_to_nearest
from .scale_search import ScaleSearch, search_channel_scale
from .updates import LazyUpdates, UpdateStats, update_magnitudes, update_stats

__all__ = [
    "Call",
    "GroupCodes",
    "GroupResult",
    "LazyUpdates",
    "PackedLinear",
    "QuantLRM",
    "QuantizationReport",
    "ScaleGroup",
    "ScaleSearch",
    "UpdateStats",
    "activation_importance",
    "both_ends_score",
    "channel_importance",
    "fold_scale",
    "llama_groups",
    "pseudo_fine_tune",
    "quantize_groups",
    "round_to_nearest",
    "search_channel_scale",
    "search_clip",
    "update_importances",
    "update_magnitudes",
    "update_stats",
]
