"""Entropy of attention: measured beside fused kernels, counted by heads, held in a band, and its remedies."""

from .chunked import attention_entropy_qk
from .ffn import ScaledLinearFFN
from .heads import entropic_overload, entropy_collapse, head_entropy, head_entropy_histogram
from .masks import visible_keys
from .regularizer import EntropyRegularizer
from .rows import attention_entropy
from .swap import swapped_modules
from .temper import temper_attention
from .tempered import TemperedAttention, TemperedSoftmax
from .trainer import attention_entropy_callback
from .watch import AttentionWatch, watch_attention

__all__ = [
    "AttentionWatch",
    "EntropyRegularizer",
    "ScaledLinearFFN",
    "TemperedAttention",
    "TemperedSoftmax",
    "attention_entropy",
    "attention_entropy_callback",
    "attention_entropy_qk",
    "entropic_overload",
    "entropy_collapse",
    "head_entropy",
    "head_entropy_histogram",
    "swapped_modules",
    "temper_attention",
    "visible_keys",
    "watch_attention",
]
