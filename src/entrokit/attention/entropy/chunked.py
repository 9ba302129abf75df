"""Entropy of attention from queries and keys, exactly, without ever holding ``[B, H, T, S]``.

With logits u_ij of row i: e_i = logsumexp_j u_ij - Σ_j a_ij u_ij, and ∂e_i/∂u_ij = -a_ij (u_ij - Σ_k a_ik u_ik). Both
need one block of rows at a time; the backward pass computes its blocks anew.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entrokit.distributions.once import differentiable_once, remember_inputs

from .checks import check_count
from .logits import Blocks, Logits

# Logits held at a time; in float32 a block is 16 MiB, and the backward pass holds about four.
BLOCK = 2**22

# causal, scaling and softcap of `Logits`.
Options = tuple[bool, float | None, float | None]


def attention_entropy_qk(
    query: Tensor,
    key: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scaling: float | None = None,
    softcap: float | None = None,
    block: int | None = None,
) -> Tensor:
    """Entropies ``[B, H, T]`` of the attention that a kernel gives to ``query`` and ``key``; nats, 0 to log S.

    Exact, in float32 (float64 of float64) whatever the dtype and whether autocast is on, and differentiable once, in
    query, key and an additive mask. A query that sees no key has 0, and no gradient.

    Args:
        query: ``[B, H, T, d]``. key: ``[B, K, S, d]``; K divides H, and H / K queries in a row share a key's head.
        mask: ``[T, S]``, or broadcasts to ``[B, H, T, S]``. Boolean: True is seen. Else it is added to the logits, and
            what is near its dtype's minimum hides a key as -inf does.
        causal: query i sees keys 0 to i, as `scaled_dot_product_attention` has it; behind a cache give a mask.
        scaling: of the products; 1/√d by default. A temperature of every query divides ``query``.
        softcap: logits become softcap · tanh(logits / softcap), before the mask; above 0.
        block: queries at a time; by default as many as make `BLOCK` logits.

    Raises:
        ValueError: shapes that do not fit, a block below 1, a softcap or scaling that is none, tensors on the meta
            device, or NaN: names the first such row.
        TypeError: not of real floats. NotImplementedError: the gradient is differentiated.
    """
    entropies = entropy_rows(Logits(query, key, mask, causal, scaling, softcap), block)
    with torch.no_grad():
        broken = entropies.isnan()
        if bool(broken.any()):
            at = [int(i) for i in broken.nonzero()[0]]
            raise ValueError(
                f"attention_entropy_qk: {int(broken.sum())} of {broken.numel()} rows are NaN, first [batch, head, "
                f"query] {at}; query, key or mask hold NaN or inf there"
            )
    return entropies


def entropy_rows(logits: Logits, block: int | None = None) -> Tensor:
    """`attention_entropy_qk` that leaves NaN where it is, for who counts it."""
    who = "attention_entropy_qk"
    made = logits.checked(who)
    batch, heads, _, _ = made.query.shape
    fits = max(1, BLOCK // max(1, batch * heads * made.key.shape[2]))
    rows = fits if block is None else check_count(block, who, "block")
    options = (made.causal, made.scaling, made.softcap)
    entropies: Tensor = _RowEntropy.apply(made.query, made.key, made.mask, options, rows)  # type: ignore[no-untyped-call]
    return entropies


def row_weights(logits: Logits) -> Tensor:
    """Attention ``[B, H, T, S]`` of a few queries, whole; rows without a key are 0."""
    made = logits.checked("row_weights")
    return _weights(_centred(Blocks(made, made.query.shape[2]).logits(0)[0]))


class _RowEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, mask: Tensor | None, options: Options, rows: int) -> Tensor:
        remember_inputs(ctx, query, key, mask)
        ctx.save_for_backward(query, key, mask)
        ctx.options, ctx.rows = options, rows
        blocks = Blocks(Logits(query, key, mask, *options), rows)
        with torch.autocast(query.device.type, enabled=False):
            return torch.cat([_entropy(blocks.logits(first)[0], blocks.seen(first)) for first in blocks.starts], -1)

    @staticmethod
    @differentiable_once("attention_entropy_qk")
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        query, key, mask = ctx.saved_tensors
        with torch.autocast(query.device.type, enabled=False):
            blocks = Blocks(Logits(query, key, mask, *ctx.options), ctx.rows)
            return *_gradients(blocks, upstream, ctx.needs_input_grad[2]), None, None


def _centred(logits: Tensor) -> Tensor:
    """Logits less their row's largest; 0 in rows without a key, so that no NaN comes of -inf less -inf."""
    top = logits.amax(-1, keepdim=True)
    return logits - torch.where(top == -torch.inf, 0.0, top)


def _weights(centred: Tensor) -> Tensor:
    weights = centred.exp()
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0.0, 1.0, total)


def _entropy(logits: Tensor, seen: Tensor | None) -> Tensor:
    """Of logits less their largest no digits cancel, however large they are."""
    u = _centred(logits)
    weights = u.exp()
    total = weights.sum(-1)
    mean = (weights * _finite(u)).sum(-1) / total
    entropies = (total.log() - mean).clamp_min(0.0)
    # A row that sees keys and has no weight was sent to -inf by its products, which is NaN to a kernel too.
    return entropies if seen is None else torch.where(seen, entropies, 0.0)


def _finite(centred: Tensor) -> Tensor:
    """A hidden key's -inf times its weight of 0 is nothing. What is NaN stays so."""
    return centred.clamp_min(torch.finfo(centred.dtype).min)


def _gradients(blocks: Blocks, upstream: Tensor, of_mask: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    query, key, mask = blocks.of.query, blocks.of.key, blocks.of.mask
    to_query = torch.zeros_like(query)
    to_key = torch.zeros_like(blocks.key)
    to_mask = None if mask is None or not of_mask else torch.zeros(mask.shape, dtype=blocks.dtype, device=mask.device)
    for first in blocks.starts:
        logits, slope = blocks.logits(first)
        end, rows = blocks.end(first), logits.shape[2]
        u = _centred(logits)
        weights = _weights(u)
        u = _finite(u)
        own = upstream[:, :, first : first + rows, None].to(blocks.dtype)
        to_logits = -own * weights * (u - (weights * u).sum(-1, keepdim=True))
        part = blocks.part(to_mask, first)
        if part is not None:
            part += to_logits.sum_to_size(part.shape)
        products = to_logits if slope is None else to_logits * slope
        folded = blocks.folded(first)
        # Laid out as the upstream gradient is, which may be transposed.
        products = products.reshape(*folded.shape[:3], end) * blocks.of.scale
        to_rows = products @ blocks.key[:, :, :end]
        to_query[:, :, first : first + rows] = to_rows.reshape(*to_logits.shape[:3], query.shape[3])
        to_key[:, :, :end] += products.mT @ folded
    given = None if to_mask is None or mask is None else to_mask.to(mask.dtype)
    return to_query, to_key.to(key.dtype), given
