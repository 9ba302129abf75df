"""The utility of a sequence, from the logits of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from entrokit.distributions import token_statistics

from ..given import check_tensor, integers


def sequence_utility(
    token_logits: Tensor,
    tokens: Tensor,
    mask: Tensor,
    kind: Literal["logprob", "logit"] = "logprob",
    *,
    temperature: float = 1.0,
    length_exponent: float = 0.0,
) -> Tensor:
    """Sum over a sequence's tokens, ``[...]`` in float32 at least, differentiable.

    ``"logprob"`` sums log-probabilities (nats, at most 0), -inf where a token was forbidden. ``"logit"`` sums raw
    logits: each position has an offset of its own that the softmax never sees, so such sums compare only sequences with
    the same prefixes.

    Args:
        token_logits: ``[..., T, V]``, at each position those that chose its token. tokens, mask: ``[..., T]``;
            positions outside of the mask (bool: prompt, padding) are not read.
        temperature: of every token, > 0. Another map than a temperature of the whole sequence.
        length_exponent: a; divides by (number of tokens)^a. Above 0 it changes the order of sequences of different
            length, and so is no map that preserves it.

    Raises:
        ValueError: shapes that do not fit, a sequence without tokens, an unknown kind, a temperature that is not above
            0, an exponent below 0 or not finite, a token outside of the vocabulary, or logits that are broken.
        TypeError: logits that are no floats, tokens that are no integers.
    """
    if kind not in ("logprob", "logit"):
        raise ValueError(f"sequence_utility: kind must be logprob or logit, got {kind!r}")
    if not 0.0 <= length_exponent < float("inf"):
        raise ValueError(f"sequence_utility: length_exponent must be at least 0 and finite, got {length_exponent}")
    token_logits = check_tensor(token_logits, "sequence_utility: token_logits", "a tensor of floats")
    if not token_logits.is_floating_point():
        raise TypeError(f"sequence_utility: token_logits must be a tensor of floats, got {token_logits.dtype}")
    tokens, mask = integers(tokens, "sequence_utility: tokens"), check_tensor(mask, "sequence_utility: mask")
    if token_logits.dim() < 2 or tokens.shape != token_logits.shape[:-1] or mask.shape != tokens.shape:
        raise ValueError(
            "sequence_utility: expected token_logits [..., T, V], tokens [..., T] and mask [..., T], got "
            f"{list(token_logits.shape)}, {list(tokens.shape)} and {list(mask.shape)}"
        )
    if mask.dtype != torch.bool:
        raise ValueError(f"sequence_utility: mask must be bool, got {mask.dtype}; pass mask.bool()")
    empty = ~mask.any(-1)
    if bool(empty.any()):
        raise ValueError(
            f"sequence_utility: {int(empty.sum())} of {empty.numel()} sequences have no token inside of the mask, "
            f"first {empty.nonzero()[0].tolist()}"
        )
    # Of both kinds the same is checked, and the same forbidden.
    logp = token_statistics(token_logits, tokens, temperature=temperature, mask=mask, need={"logp"}).logp
    if kind == "logit":
        taken = token_logits.gather(-1, torch.where(mask, tokens, 0).unsqueeze(-1)).squeeze(-1).to(logp.dtype)
        logp = torch.where(mask, taken / temperature, 0.0)
    total = logp.sum(-1)
    return total / mask.sum(-1).to(total.dtype) ** length_exponent if length_exponent else total


def pad_utilities(utilities: Sequence[Tensor]) -> Tensor:
    """Lists of different length as rows ``[B, K]``, those that are shorter filled up by -inf: forbidden candidates.

    In the widest of their dtypes, on the device of the first.

    Raises:
        ValueError: no lists, or one that is empty or no vector. TypeError: one that holds no floats.
    """
    if not len(utilities):
        raise ValueError("pad_utilities: there are no lists")
    for i, one in enumerate(utilities):
        check_tensor(one, f"pad_utilities: list {i}", "a tensor of floats")
        if not one.is_floating_point():
            raise TypeError(f"pad_utilities: list {i} must be a tensor of floats, got {one.dtype}")
        if one.dim() != 1 or not len(one):
            raise ValueError(f"pad_utilities: list {i} has shape {list(one.shape)}; expected [K] with K of at least 1")
    dtype = reduce(torch.promote_types, (one.dtype for one in utilities))
    rows = [one.to(utilities[0].device, dtype) for one in utilities]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-torch.inf)
