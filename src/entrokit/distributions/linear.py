"""Per-token statistics from hidden states and the LM head, without ever holding the logits.

Logits are made tile by tile (rows × a slice of the vocabulary), reduced to running moments and dropped; the backward
makes them again and turns each tile at once into its part of the gradients. Forward and backward cost four matrix
products of size rows × width × vocabulary (three where the head is frozen) and one tile of memory.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .backends import backend, engine
from .liger import linear_logp_and_entropy
from .linear_nucleus import linear_nucleus_entropy
from .moments import Moments, closure
from .once import differentiable_once, remember_inputs
from .statistics import (
    STATISTICS,
    TokenStatistics,
    check_request,
    check_tokens,
    positions,
    refuse_broken_rows,
    split_nucleus,
)
from .tiles import Tiles
from .token_statistics import coefficients, collect, outputs


def linear_token_statistics(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    need: Collection[str] = STATISTICS,
) -> TokenStatistics:
    """Statistics of ``softmax(cap(hidden @ weight.T + bias) / temperature)``, differentiable once in all three tensors.

    A model that multiplies its logits by a scale s before the cap has ``temperature / s`` and ``softcap / s``.

    Args:
        hidden: ``[..., d]``. weight: ``[V, d]``. bias: ``[V]``. Any floating dtypes.
        tokens: ``[...]``, the token taken at each position, in [0, V).
        temperature: sampling temperature, > 0.
        softcap: ``cap(z) = softcap tanh(z / softcap)``, > 0; None for none.
        mask: ``[...]`` bool; positions outside it are not read, have value 0 and gradient 0.
        need: which of `STATISTICS` and ``top_token`` to compute, and `nucleus_statistic` (by a pass of its own: see
            `linear_nucleus_entropy`); ``logp`` always is.

    Returns:
        Tensors of shape ``[...]``, float32 (float64 for float64 hidden states). Sums are float32 at least; so are the
        products on the CPU, while on CUDA they take half-precision operands as the model's own head does.

    Raises:
        ValueError: as `token_statistics`; shapes of hidden, weight and bias that do not fit; a softcap that is not
            positive.
        NotImplementedError: the gradient is differentiated.
    """
    check_head(hidden, weight, bias, tokens, temperature, softcap, need)
    index = positions(mask, tokens)
    check_tokens(tokens if mask is None else tokens.masked_fill(~mask, 0), weight.shape[0])
    names, nucleus = split_nucleus(need)
    if nucleus is not None:
        inside = linear_nucleus_entropy(
            hidden,
            weight,
            nucleus.top_p,
            bias=bias,
            temperature=temperature,
            softcap=softcap,
            inclusive=nucleus.inclusive,
            mask=mask,
        )
        rest = linear_token_statistics(
            hidden, weight, tokens, bias=bias, temperature=temperature, softcap=softcap, mask=mask, need=names
        )
        return replace(rest, nucleus_entropy=inside)
    wanted = names | {"logp"}
    plain = bias is None and softcap is None and weight.dtype == hidden.dtype
    name = backend(hidden.device, hidden.dtype, form="linear", need=wanted, plain_head=plain).name
    if name == "liger":
        return linear_logp_and_entropy(hidden, weight, tokens, mask, float(temperature), wanted)
    values = _LinearOnePass.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, tokens, index, float(temperature), softcap, wanted, name
    )
    return collect(values, wanted)


def check_head(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tokens: Tensor,
    temperature: float,
    softcap: float | None,
    need: Collection[str],
) -> None:
    """Raises `ValueError` for arguments of the linear form that do not fit one another."""
    check_request(tokens, hidden.shape[:-1], temperature, need)
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[-1]:
        raise ValueError(
            f"weight: expected shape [V, {hidden.shape[-1]}] to fit hidden {tuple(hidden.shape)}, "
            f"got {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias: expected shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap: must be > 0, got {softcap}")


class _LinearOnePass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        index: Tensor | None,
        temperature: float,
        softcap: float | None,
        wanted: frozenset[str],
        name: str,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        remember_inputs(ctx, hidden, weight, bias)
        code = engine(name)
        tiles = Tiles(hidden, weight, bias, tokens, index, temperature, softcap, code)
        moments = Moments.empty(tiles.count, code.ACCUMULATOR, hidden.device, closure(wanted))
        for columns, _ in tiles.columns():
            for rows, z, scratch in tiles.logits(columns):
                code.add_tile(moments, z, scratch, tiles.tokens[rows], rows, columns.start)
        log_norm = moments.log_norm
        refuse_broken_rows(log_norm, index, tokens.shape)
        everything = outputs(moments, index, tokens.shape, tiles.dtype)
        saved = (log_norm.to(tiles.dtype), *everything[: len(STATISTICS)])
        ctx.save_for_backward(hidden, weight, bias, tokens, index, *saved)
        ctx.temperature, ctx.softcap, ctx.wanted, ctx.name = temperature, softcap, wanted, name
        ctx.product_dtype = tiles.product_dtype
        ctx.mark_non_differentiable(everything[-1])
        return everything

    @staticmethod
    @differentiable_once("linear_token_statistics")
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, tokens, index, log_norm, *saved = ctx.saved_tensors
        found = coefficients(grads[: len(STATISTICS)], saved, index, ctx.wanted)
        if found is None:
            return (None,) * 9
        code = engine(ctx.name)
        tiles = Tiles(hidden, weight, bias, tokens, index, ctx.temperature, ctx.softcap, code, ctx.product_dtype)
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        d_hidden = torch.zeros(tiles.hidden.shape, dtype=tiles.dtype, device=hidden.device) if for_hidden else None
        fill = torch.empty if tiles.count else torch.zeros  # every tile of rows writes or adds to all of it
        d_weight = fill(weight.shape, dtype=weight.dtype, device=weight.device) if for_weight else None
        d_bias = torch.empty_like(bias) if for_bias else None
        for columns, part in tiles.columns():
            part_gradient = None if d_weight is None else d_weight[columns].to(tiles.dtype)
            bias_gradient = torch.zeros(len(part), dtype=tiles.dtype, device=part.device) if for_bias else None
            for rows, z, scratch in tiles.logits(columns):
                tiles.remember_slope(z)
                taken, made = tiles.tokens[rows], tiles.gradient_dtype
                g = code.gradient_tile(found.rows(rows), z, log_norm[rows], scratch, taken, columns.start, made)
                tiles.add_gradient(g, rows, part, d_hidden, part_gradient, bias_gradient, first=rows.start == 0)
            if d_weight is not None and part_gradient is not None:
                if tiles.inner_scale != 1.0:
                    part_gradient.mul_(tiles.inner_scale)
                if part_gradient.dtype != d_weight.dtype:
                    d_weight[columns] = part_gradient
            if d_bias is not None and bias_gradient is not None:
                d_bias[columns] = bias_gradient.mul_(tiles.inner_scale)
        return tiles.hidden_gradient(d_hidden, hidden, hidden.dtype), d_weight, d_bias, *((None,) * 6)
