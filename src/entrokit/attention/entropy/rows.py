"""Entropy of attention whose weights are at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_floats, check_number


def attention_entropy(attn: Tensor, eps: float = 1e-9) -> Tensor:
    """e_i = -Σ_j a_ij log(a_ij + eps) of every row: weights ``[..., T, S]`` give ``[..., T]``, nats, 0 to log S.

    Half precision is summed in float32, where eps does not vanish. A row of zeros, whose query sees no key, has 0.

    Args:
        attn: rows that sum to 1, as ``[B, H, T, S]`` of eager attention in evaluation mode. Of one layer: of a model
            ``[attention_entropy(a) for a in outputs.attentions]``.
        eps: biases e by at most eps a key (Entropy-Guided Attention, arXiv 2501.03489, official code); 0 is exact.

    Raises:
        ValueError: an eps below 0 or not finite; a row that is neither a distribution nor zeros, with NaN for one; such
            are the weights that transformers returns in training, which have passed through dropout. Or fewer than two
            dimensions, or weights on the meta device.
        TypeError: no tensor of real floats, as a tuple of layers or a model's outputs; says what to give.
    """
    attn = check_floats(attn, "attention_entropy", "weights of one layer")
    if not check_number(eps, "attention_entropy", "eps") >= 0.0:
        raise ValueError(f"attention_entropy: eps must be at least 0, got {eps}")
    if attn.dim() < 2:
        raise ValueError(f"attention_entropy: expected weights [..., T, S], got shape {list(attn.shape)}")
    slack = max(1e-5, 16.0 * torch.finfo(attn.dtype).eps)
    attn = attn.to(torch.promote_types(attn.dtype, torch.float32))
    with torch.no_grad():
        total = attn.sum(-1)
        # Written so that NaN is wrong too.
        wrong = ~(((total - 1.0).abs() <= slack) | (total == 0.0)) | (attn < 0.0).any(-1)
        if bool(wrong.any()):
            at = tuple(int(i) for i in wrong.nonzero()[0])
            raise ValueError(
                f"attention_entropy: {int(wrong.sum())} of {wrong.numel()} rows are no distribution, first {list(at)}, "
                f"whose sum is {float(total[at]):.6g}; look for NaN or inf in the model's activations, or switch "
                "dropout off (model.eval()), which scales weights after the softmax"
            )
    if eps == 0.0:
        # The slope of -a log a is infinite at 0, where that of a softmax behind it is 0.
        some = attn > 0.0
        return torch.where(some, torch.special.entr(torch.where(some, attn, 1.0)), 0.0).sum(-1)
    return -(attn * (attn + eps).log()).sum(-1)
