"""Entropy of attention from queries and keys, exactly, without ever holding ``[B, H, T, S]``.

With logits u_ij of row i: e_i = logsumexp_j u_ij - Σ_j a_ij u_ij, and ∂e_i/∂u_ij = -a_ij (u_ij - Σ_k a_ik u_ik). Both
need one block of rows at a time; the backward pass computes its blocks anew.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .masks import check_mask, hidden

# Logits held at a time; in float32 a block is 16 MiB, and the backward pass holds about four.
BLOCK = 2**22


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
        ValueError: shapes that do not fit, a block below 1, a softcap that is none, or NaN: names the first such row.
        TypeError: not of real floats. NotImplementedError: the gradient is differentiated.
    """
    entropies = entropy_rows(query, key, mask=mask, causal=causal, scaling=scaling, softcap=softcap, block=block)
    with torch.no_grad():
        broken = entropies.isnan()
        if bool(broken.any()):
            at = [int(i) for i in broken.nonzero()[0]]
            raise ValueError(
                f"attention_entropy_qk: {int(broken.sum())} of {broken.numel()} rows are NaN, first [batch, head, "
                f"query] {at}; query, key or mask hold NaN or inf there"
            )
    return entropies


def entropy_rows(
    query: Tensor,
    key: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scaling: float | None = None,
    softcap: float | None = None,
    block: int | None = None,
) -> Tensor:
    """`attention_entropy_qk` that leaves NaN where it is, for who counts it."""
    who = "attention_entropy_qk"
    if query.dim() != 4 or key.dim() != 4:
        raise ValueError(f"{who}: expected [B, heads, length, d], got {list(query.shape)} and {list(key.shape)}")
    batch, heads, queries, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    if (
        key.shape[0] != batch
        or key.shape[3] != width
        or not groups
        or heads % groups
        or not (queries and keys and width)
    ):
        raise ValueError(
            f"{who}: query {list(query.shape)} and key {list(key.shape)} need the same batch and d, at least one "
            "query and key, and a number of key heads that divides that of query heads"
        )
    if not query.dtype.is_floating_point or not key.dtype.is_floating_point:
        raise TypeError(f"{who}: expected real floating point, got {query.dtype} and {key.dtype}")
    if block is not None and block < 1:
        raise ValueError(f"{who}: block must be at least 1 query, got {block}")
    if softcap is not None and not softcap > 0.0:
        raise ValueError(f"{who}: softcap must be above 0, got {softcap}; None for none")
    if mask is not None:
        mask = check_mask(mask, (batch, heads, queries, keys), who)
    rows = block or max(1, BLOCK // max(1, batch * heads * keys))
    scale = width**-0.5 if scaling is None else float(scaling)
    entropies: Tensor = _RowEntropy.apply(query, key, mask, causal, scale, softcap, rows)  # type: ignore[no-untyped-call]
    return entropies


def row_weights(query: Tensor, key: Tensor, *, mask: Tensor | None, scaling: float, softcap: float | None) -> Tensor:
    """Attention ``[B, H, T, S]`` of a few queries, whole; rows without a key are 0."""
    if mask is not None:
        mask = check_mask(mask, (*query.shape[:3], key.shape[2]), "row_weights")
    logits, _ = _Blocks(query, key, mask, False, scaling, softcap, query.shape[2]).logits(0)
    return _weights(_centred(logits))


class _RowEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        causal: bool,
        scaling: float,
        softcap: float | None,
        rows: int,
    ) -> Tensor:
        ctx.save_for_backward(query, key, mask)
        ctx.options = (causal, scaling, softcap, rows)
        blocks = _Blocks(query, key, mask, *ctx.options)
        with torch.autocast(query.device.type, enabled=False):
            return torch.cat([_entropy(blocks.logits(first)[0], blocks.seen(first)) for first in blocks.starts], -1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        to_inputs = _RowGradient.apply(upstream, *ctx.saved_tensors, ctx.options, ctx.needs_input_grad[2])  # type: ignore[no-untyped-call]
        return *to_inputs, None, None, None, None


class _RowGradient(torch.autograd.Function):
    """A function of its own, so that who differentiates the gradient is told, and does not take it for a constant."""

    @staticmethod
    def forward(
        ctx: Any,
        upstream: Tensor,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        options: tuple[bool, float, float | None, int],
        of_mask: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        with torch.autocast(query.device.type, enabled=False):
            return _gradients(_Blocks(query, key, mask, *options), upstream, of_mask)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> None:
        raise NotImplementedError(
            "attention_entropy_qk is differentiable once; for second derivatives give weights to attention_entropy"
        )


class _Blocks:
    """Logits of a block of queries; heads that share a key are rows of one product, so that no key is repeated."""

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        causal: bool,
        scaling: float,
        softcap: float | None,
        rows: int,
    ) -> None:
        self.query, self.mask, self.causal, self.scaling, self.softcap = query, mask, causal, scaling, softcap
        self.original = key
        self.dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), torch.float32)
        self.key = key.to(self.dtype)
        self.rows, self.keys, self.groups = rows, key.shape[2], key.shape[1]
        self.starts = range(0, query.shape[2], rows)

    def end(self, first: int) -> int:
        """Keys beyond it are seen by no query of the block."""
        return min(self.keys, first + self.rows) if self.causal else self.keys

    def folded(self, first: int) -> Tensor:
        """The block's queries, ``[B, K, (H / K) rows, d]``."""
        block = self.query[:, :, first : first + self.rows].to(self.dtype)
        batch, heads, rows, width = block.shape
        return block.reshape(batch, self.groups, heads // self.groups * rows, width)

    def logits(self, first: int) -> tuple[Tensor, Tensor | None]:
        """``[B, H, rows, keys]``, -inf where hidden; and with a softcap the slope of the logits in the products."""
        batch, heads, length, _ = self.query.shape
        rows, end = min(self.rows, length - first), self.end(first)
        products = (self.folded(first) @ self.key[:, :, :end].mT).view(batch, heads, rows, end)
        logits = products.mul_(self.scaling)
        slope = None
        if self.softcap is not None:
            bent = torch.tanh(logits / self.softcap)
            logits, slope = bent * self.softcap, 1.0 - bent.square()
        mask = self.masked(first)
        if mask is not None:
            if mask.dtype != torch.bool:
                logits = logits + mask.to(self.dtype)
            logits = logits.masked_fill_(hidden(mask), -torch.inf)
        if self.causal:
            logits = logits.masked_fill_(self.later(first), -torch.inf)
        return logits, slope

    def later(self, first: int) -> Tensor:
        """Keys behind their query, ``[rows, keys]``."""
        rows = min(self.rows, self.query.shape[2] - first)
        own = torch.arange(first, first + rows, device=self.key.device)
        return torch.arange(self.end(first), device=self.key.device) > own[:, None]

    def seen(self, first: int) -> Tensor | None:
        """Which rows see a key, ``[b, h, rows]``; None where all do."""
        mask = self.masked(first)
        if mask is None:
            return None
        unseen = hidden(mask) | self.later(first) if self.causal else hidden(mask)
        return ~unseen.all(-1)

    def masked(self, first: int) -> Tensor | None:
        if self.mask is None:
            return None
        part = self.mask[..., : self.end(first)]
        return part[:, :, first : first + self.rows] if part.shape[2] > 1 else part


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


def _gradients(blocks: _Blocks, upstream: Tensor, of_mask: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    query, key, mask = blocks.query, blocks.original, blocks.mask
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
        if to_mask is not None:
            part = to_mask[..., :end]
            part = part[:, :, first : first + rows] if part.shape[2] > 1 else part
            part += to_logits.sum_to_size(part.shape)
        products = to_logits if slope is None else to_logits * slope
        folded = blocks.folded(first)
        # Laid out as the upstream gradient is, which may be transposed.
        products = products.reshape(*folded.shape[:3], end) * blocks.scaling
        to_rows = products @ blocks.key[:, :, :end]
        to_query[:, :, first : first + rows] = to_rows.reshape(*to_logits.shape[:3], query.shape[3])
        to_key[:, :, :end] += products.mT @ folded
    given = None if to_mask is None or mask is None else to_mask.to(mask.dtype)
    return to_query, to_key.to(key.dtype), given
