"""Per-token statistics from logits: one pass forward, one backward.

Sums are float32 at least (float64 for float64 logits), but no float32 copy of the logits ever exists as a whole; only
the logits themselves are kept for the backward.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .backends import backend, engine
from .moments import Coefficients, Moments, closure
from .nucleus import nucleus_entropy
from .once import differentiable_once, remember_inputs
from .statistics import (
    STATISTICS,
    TokenStatistics,
    check_request,
    check_tokens,
    positions,
    refuse_broken_rows,
    split_nucleus,
    working_dtype,
)


def token_statistics(
    logits: Tensor,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    need: Collection[str] = STATISTICS,
) -> TokenStatistics:
    """Statistics of ``softmax(logits / temperature)`` at every position, differentiable once in the logits.

    Args:
        logits: ``[..., V]``, any floating dtype; ``-inf`` marks a forbidden token.
        tokens: ``[...]``, the token taken at each position, in [0, V).
        temperature: sampling temperature, > 0.
        mask: ``[...]`` bool; positions outside it are not read, have value 0 and gradient 0.
        need: which of `STATISTICS` and ``top_token`` to compute, and `nucleus_statistic`; ``logp`` always is.

    Returns:
        Tensors of shape ``[...]``, float32 (float64 for float64 logits).

    Raises:
        ValueError: unknown names in ``need``; shapes that differ; a token outside the vocabulary; a temperature that
            is not positive; NaN, ``+inf`` or a whole row of ``-inf`` among the logits (with the first position).
        NotImplementedError: the gradient is differentiated.
    """
    check_request(tokens, logits.shape[:-1], temperature, need)
    index = positions(mask, tokens)
    check_tokens(tokens if mask is None else tokens.masked_fill(~mask, 0), logits.shape[-1])
    plain, nucleus = split_nucleus(need)
    wanted = plain | {"logp"}
    name = backend(logits.device, logits.dtype, need=wanted).name
    values = _OnePass.apply(logits, tokens, index, float(temperature), wanted, name)  # type: ignore[no-untyped-call]
    statistics = collect(values, wanted)
    if nucleus is None:
        return statistics
    inside = nucleus_entropy(logits, nucleus.top_p, temperature=temperature, inclusive=nucleus.inclusive, mask=mask)
    return replace(statistics, nucleus_entropy=inside)


def collect(values: tuple[Tensor, ...], wanted: frozenset[str]) -> TokenStatistics:
    """The autograd functions' outputs, which hold every name, as what was asked for."""
    names = (*STATISTICS, "top_token")
    return TokenStatistics(**{n: v for n, v in zip(names, values, strict=True) if n in wanted})


def outputs(moments: Moments, index: Tensor | None, shape: torch.Size, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Every statistic in ``shape``, zeros outside ``index``; those that the moments do not want are empty."""

    def placed(name: str, value: Tensor) -> Tensor:
        if name not in moments.wanted:
            return value.new_zeros(0, dtype=dtype)
        value = value if name == "top_token" else value.to(dtype)
        if index is None:
            return value.view(shape)
        return value.new_zeros(shape.numel()).index_copy_(0, index, value).view(shape)

    values = moments.statistics()
    return tuple(placed(name, values[name]) for name in (*STATISTICS, "top_token"))


def coefficients(
    grads: tuple[Tensor | None, ...], saved: list[Tensor], index: Tensor | None, wanted: frozenset[str]
) -> Coefficients | None:
    """Gradient coefficients of the computed rows; None if no statistic received a gradient.

    A statistic's derivative may need another's value (varentropy's needs entropy); ``saved`` holds it.
    """

    def rows(x: Tensor) -> Tensor:
        return x.reshape(-1) if index is None else x.reshape(-1)[index]

    given = {n: rows(g) for n, g in zip(STATISTICS, grads, strict=False) if g is not None and n in wanted}
    if not given:
        return None
    known = closure(wanted)
    return Coefficients.of(given, {n: rows(v) for n, v in zip(STATISTICS, saved, strict=True) if n in known})


class _OnePass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        tokens: Tensor,
        index: Tensor | None,
        temperature: float,
        wanted: frozenset[str],
        name: str,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        remember_inputs(ctx, logits)
        rows, taken = logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1)
        dtype = working_dtype(logits)
        moments = engine(name).reduce_rows(rows, taken, index, temperature, dtype, closure(wanted))
        log_norm = moments.log_norm
        refuse_broken_rows(log_norm, index, tokens.shape)
        everything = outputs(moments, index, tokens.shape, dtype)
        ctx.save_for_backward(logits, tokens, index, log_norm.to(dtype), *everything[: len(STATISTICS)])
        ctx.temperature, ctx.wanted, ctx.name = temperature, wanted, name
        ctx.mark_non_differentiable(everything[-1])
        return everything

    @staticmethod
    @differentiable_once("token_statistics")
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        logits, tokens, index, log_norm, *saved = ctx.saved_tensors
        found = coefficients(grads[: len(STATISTICS)], saved, index, ctx.wanted)
        if found is None:
            return (None,) * 6
        rows, taken = logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1)
        gradient = engine(ctx.name).gradient_rows(rows, taken, index, ctx.temperature, log_norm, found)
        return gradient.view(logits.shape), None, None, None, None, None
