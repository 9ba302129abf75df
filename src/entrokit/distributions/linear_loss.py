"""A loss of per-token statistics whose gradient is formed while the logits are still in memory.

`linear_token_statistics` must make every logit twice: for the statistics, and once more when their gradients come back.
Where a position's gradient depends on no other position's statistics, its coefficients are known as soon as its own row
is reduced, and three matrix products do. The price: whole rows of logits are held, a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from .backends import Engine, backend, engine
from .linear import check_head, linear_token_statistics
from .moments import Coefficients, Moments, closure
from .once import Gradients, differentiable_once, hand_out, kept_dtype, remember_inputs
from .statistics import STATISTICS, TokenStatistics, check_tokens, positions, refuse_broken_rows, split_nucleus
from .tiles import Tiles

# Logits held at once: 128 MiB in float32; on CUDA more, to keep the matrix products busy.
KEPT_ELEMENTS, CUDA_KEPT_ELEMENTS = 1 << 25, 1 << 28

Loss = Callable[[TokenStatistics], Tensor]


def linear_token_loss(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    loss: Loss,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    need: Collection[str] = STATISTICS,
) -> tuple[Tensor, TokenStatistics]:
    """``loss(linear_token_statistics(...))`` for a loss that is separable by position, in three matrix products.

    Separable: the derivative of the loss in the statistics of a position depends on the statistics of that position
    alone. This is not checked; a loss that is not separable gets a wrong gradient. It is called once for each chunk of
    positions, with zeros at those not reached yet, and once at the end with everything.

    Args:
        loss: takes statistics of the shape of ``tokens``, returns a scalar.
        others: as in `linear_token_statistics`.

    Returns:
        The loss, differentiable once in hidden, weight and bias, and the statistics, without gradient.

    Raises:
        ValueError: as `linear_token_statistics`; a loss that is no scalar.
        NotImplementedError: the gradient is differentiated. RuntimeError: a second backward pass.
    """
    check_head(hidden, weight, bias, tokens, temperature, softcap, need)
    options = {"bias": bias, "temperature": temperature, "softcap": softcap, "mask": mask, "need": need}
    leaves = [x for x in (hidden, weight, bias) if x is not None]
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in leaves):
        statistics = linear_token_statistics(hidden, weight, tokens, **options)  # type: ignore[arg-type]
        return _scalar(loss(statistics)), statistics
    index = positions(mask, tokens)
    check_tokens(tokens if mask is None else tokens.masked_fill(~mask, 0), weight.shape[0])
    plain, nucleus = split_nucleus(need)
    if nucleus is not None:
        raise ValueError("need: the nucleus entropy is not one of linear_token_loss; take linear_token_statistics")
    wanted = plain | {"logp"}
    name = backend(hidden.device, hidden.dtype, form="linear", need=STATISTICS).name
    value, *values = _SeparableLoss.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, tokens, index, float(temperature), softcap, wanted, name, loss
    )
    names = [n for n in (*STATISTICS, "top_token") if n in wanted]
    return value, TokenStatistics(**dict(zip(names, values, strict=True)))


class _SeparableLoss(torch.autograd.Function):
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
        loss: Loss,
    ) -> tuple[Tensor, ...]:
        remember_inputs(ctx, hidden, weight, bias)
        code = engine(name)
        tiles = Tiles(hidden, weight, bias, tokens, index, temperature, softcap, code)
        gradients = _Gradients(tiles, weight, bias, ctx.needs_input_grad[:3])
        full = _Statistics(tokens, index, tiles.dtype, wanted)
        kept_elements = CUDA_KEPT_ELEMENTS if hidden.is_cuda else KEPT_ELEMENTS
        size = min(max(1, kept_elements // len(weight)), max(1, tiles.count))
        kept = torch.empty(size * len(weight), dtype=tiles.dtype, device=hidden.device)
        for start in range(0, tiles.count, size):
            chunk = slice(start, min(start + size, tiles.count))
            moments = Moments.empty(chunk.stop - start, code.ACCUMULATOR, hidden.device, closure(wanted))
            for columns, _ in tiles.columns():
                for rows, _, scratch in tiles.buffers(columns, chunk):
                    local = slice(rows.start - start, rows.stop - start)
                    z = tiles.fill(rows, _tile(kept, chunk, local, columns))
                    code.add_tile(moments, z, scratch, tiles.tokens[rows], local, columns.start)
            part = torch.arange(start, chunk.stop, device=tokens.device) if index is None else index[chunk]
            log_norm = moments.log_norm
            refuse_broken_rows(log_norm, part, tokens.shape)
            found = full.add(moments, chunk, loss)
            if found is not None:
                gradients.add(found, kept, log_norm.to(tiles.dtype), chunk, code)
        statistics = full.statistics()
        value = _scalar(loss(statistics)).to(tiles.dtype)
        ctx.gradients = gradients.finish(hidden, weight, bias)
        ctx.dtypes = [None if x is None else x.dtype for x in (hidden, weight, bias)]
        outputs = [getattr(statistics, n) for n in (*STATISTICS, "top_token") if n in wanted]
        ctx.mark_non_differentiable(*outputs)
        return value, *outputs

    @staticmethod
    @differentiable_once("linear_token_loss")
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        return *hand_out(ctx, "linear_token_loss", grad), *((None,) * 7)


class _Statistics:
    """Statistics of the positions reached so far, zeros elsewhere, and the gradient of a loss in a chunk of them."""

    def __init__(self, tokens: Tensor, index: Tensor | None, dtype: torch.dtype, wanted: frozenset[str]) -> None:
        self._shape, self._index, self._wanted = tokens.shape, index, wanted
        names = [n for n in STATISTICS if n in wanted]
        self._flat = {n: torch.zeros(tokens.numel(), dtype=dtype, device=tokens.device) for n in names}
        if "top_token" in wanted:
            self._flat["top_token"] = torch.zeros_like(tokens.reshape(-1))

    def add(self, moments: Moments, chunk: slice, loss: Loss) -> Coefficients | None:
        """Fills in a chunk; None if the loss has no gradient in it."""
        place = slice(chunk.start, chunk.stop) if self._index is None else self._index[chunk]
        values = moments.statistics()
        for name, flat in self._flat.items():
            flat[place] = values[name].to(flat.dtype)
        known = {n: values[n].to(self._flat["logp"].dtype) for n in STATISTICS if n in moments.wanted}
        leaves = {n: known[n].detach().requires_grad_() for n in STATISTICS if n in self._wanted}
        with torch.enable_grad():
            flats = {n: flat.clone() for n, flat in self._flat.items()}
            for name, leaf in leaves.items():
                flats[name][place] = leaf
            value = _scalar(loss(self._shaped(flats)))
        if not value.requires_grad:
            return None
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        grads = {n: g for n, g in zip(leaves, found, strict=True) if g is not None}
        return Coefficients.of(grads, known) if grads else None

    def statistics(self) -> TokenStatistics:
        return self._shaped(self._flat)

    def _shaped(self, flats: dict[str, Tensor]) -> TokenStatistics:
        return TokenStatistics(**{n: flat.view(self._shape) for n, flat in flats.items()})


class _Gradients:
    """Sums of the gradients in hidden states, head and bias, in the working dtype."""

    def __init__(self, tiles: Tiles, weight: Tensor, bias: Tensor | None, wanted: tuple[bool, ...]) -> None:
        def made(fill: Callable[..., Tensor], like: Tensor) -> Tensor:
            return fill(like.shape, dtype=tiles.dtype, device=like.device)

        self._tiles = tiles
        self.hidden = made(torch.zeros, tiles.hidden) if wanted[0] else None
        self.weight = made(torch.empty, weight) if wanted[1] else None
        self.bias = made(torch.zeros, bias) if wanted[2] and bias is not None else None
        # The head's is large: zeros in it would be one more walk through memory.
        self._weight_is_empty = True

    def add(self, found: Coefficients, kept: Tensor, log_norm: Tensor, chunk: slice, code: Engine) -> None:
        """Adds the part of a chunk of rows whose logits are ``kept``."""
        tiles = self._tiles
        for columns, part in tiles.columns():
            for rows, _, scratch in tiles.buffers(columns, chunk):
                local = slice(rows.start - chunk.start, rows.stop - chunk.start)
                z = _tile(kept, chunk, local, columns)
                tiles.remember_slope(z)
                taken, made = tiles.tokens[rows], tiles.gradient_dtype
                g = code.gradient_tile(found.rows(local), z, log_norm[local], scratch, taken, columns.start, made)
                sums = self.hidden, _columns(self.weight, columns), _columns(self.bias, columns)
                tiles.add_gradient(g, rows, part, *sums, first=self._weight_is_empty and local.start == 0)
        self._weight_is_empty = False

    def finish(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Gradients:
        """The gradients in the shapes of what they belong to, and in the dtypes that they are kept in."""
        scale = self._tiles.inner_scale
        if self.weight is not None and self._weight_is_empty:
            self.weight.zero_()
        for sums in (self.weight, self.bias):
            if sums is not None and scale != 1.0:
                sums.mul_(scale)
        d_weight = None if self.weight is None else self.weight.to(kept_dtype(weight.dtype))
        d_bias = None if self.bias is None or bias is None else self.bias.to(kept_dtype(bias.dtype))
        return self._tiles.hidden_gradient(self.hidden, hidden, kept_dtype(hidden.dtype)), d_weight, d_bias


def _tile(kept: Tensor, chunk: slice, local: slice, columns: slice) -> Tensor:
    """Where a tile of the chunk's logits is kept: each lies in one piece."""
    n, v = local.stop - local.start, columns.stop - columns.start
    start = columns.start * (chunk.stop - chunk.start) + local.start * v
    return kept[start : start + n * v].view(n, v)


def _columns(total: Tensor | None, columns: slice) -> Tensor | None:
    return None if total is None else total[columns]


def _scalar(value: Tensor) -> Tensor:
    if value.dim() != 0:
        raise ValueError(f"loss: must return a scalar, got shape {tuple(value.shape)}")
    return value
