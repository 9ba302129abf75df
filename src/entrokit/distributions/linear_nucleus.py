"""Entropy of the nucleus from hidden states and the LM head, some rows of logits at a time.

The nucleus of a row is known only once all of its logits are, so tiles of the vocabulary cannot serve. Logits of a few
rows are made, reduced and dropped; the backward makes them again. That is one matrix product forward and three backward
beside those of the other statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .nucleus import nucleus_entropy
from .statistics import positions, working_dtype

# Elements of logits that exist at a time.
_CHUNK_ELEMENTS = 1 << 25


def linear_nucleus_entropy(
    hidden: Tensor,
    weight: Tensor,
    top_p: float = 0.8,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    inclusive: bool = True,
    mask: Tensor | None = None,
) -> Tensor:
    """`nucleus_entropy` of ``cap(hidden @ weight.T + bias)``, differentiable once in all three tensors.

    Arguments and result are those of `linear_token_statistics` and `nucleus_entropy`.
    """
    shape = hidden.shape[:-1]
    index = positions(mask, hidden[..., 0])
    rows = hidden.reshape(-1, hidden.shape[-1])
    if index is not None:
        rows = rows[index]

    def some(part: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        logits = part.to(weight.dtype) @ weight.T
        if bias is not None:
            logits = logits + bias
        if softcap is not None:
            logits = softcap * torch.tanh(logits.to(working_dtype(logits)) / softcap)
        return nucleus_entropy(logits, top_p, temperature=temperature, inclusive=inclusive)

    size = max(1, _CHUNK_ELEMENTS // weight.shape[0])
    parts = [checkpoint(some, part, weight, bias, use_reentrant=False) for part in torch.split(rows, size)]
    values: Tensor = torch.cat(parts) if parts else rows.sum(1)
    if index is not None:
        values = values.new_zeros(shape.numel()).index_put((index,), values)
    return values.view(shape)
