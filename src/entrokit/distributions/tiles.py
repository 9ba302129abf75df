"""Tiles of an LM head's logits: rows × a slice of the vocabulary, made one after another in one buffer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .backends import Engine
from .statistics import working_dtype


class Tiles:
    """Tiles of logits of the rows that are computed.

    The division by the temperature (and by the softcap) is done on the product's way out where that is free.

    Attributes:
        dtype: of the tiles and of sums.
        product_dtype: of the operands of matrix products: half precision on CUDA only.
        hidden, tokens: the rows, compressed to those inside the mask.
        inner_scale: what the product is multiplied by before the cap.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        index: Tensor | None,
        temperature: float,
        softcap: float | None,
        engine: Engine,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        self.dtype = working_dtype(hidden)
        self.product_dtype = product_dtype or _product_dtype(hidden, self.dtype)
        rows = hidden.reshape(-1, hidden.shape[-1])
        self.index = index
        self.hidden = (rows if index is None else rows[index]).to(self.product_dtype)
        self.tokens = tokens.reshape(-1) if index is None else tokens.reshape(-1)[index]
        self.count = len(self.hidden)
        self.inner_scale = 1.0 / temperature if softcap is None else 1.0 / softcap
        self._outer_scale = None if softcap is None else softcap / temperature
        self._weight, self._bias = weight, bias
        self._rows, self._columns = min(engine.TILE_ROWS, max(1, self.count)), min(engine.TILE_COLUMNS, len(weight))
        size = self._rows * self._columns
        self._buffer = torch.empty(1 + engine.SCRATCH, size, dtype=self.dtype, device=hidden.device)
        self._slope = torch.empty_like(self._buffer[0]) if softcap is not None else None
        self._part: tuple[Tensor, Tensor | None] | None = None

    def columns(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the vocabulary, with the head's rows there as an operand."""
        vocabulary = self._weight.shape[0]
        for start in range(0, vocabulary, self._columns):
            part = slice(start, min(start + self._columns, vocabulary))
            weight = self._weight[part].to(self.product_dtype)
            bias = None if self._bias is None else self._bias[part].to(self.dtype) * self.inner_scale
            self._part = (weight, bias)
            yield part, weight

    def logits(self, columns: slice, within: slice | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Tiles ``[n, v]`` of the slice handed out last, each with scratch; the next overwrites them.

        ``within``: some of the rows, by default all.
        """
        for rows, z, scratch in self.buffers(columns, within):
            yield rows, self.fill(rows, z), scratch

    def fill(self, rows: slice, z: Tensor) -> Tensor:
        """The logits of rows in the slice handed out last, made in ``z [n, v]``."""
        assert self._part is not None
        weight, bias = self._part
        _product(self.hidden[rows], weight.T, bias, self.inner_scale, z)
        if self._outer_scale is not None:
            z.tanh_().mul_(self._outer_scale)
        return z

    def buffers(self, columns: slice, within: slice | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """The tiles of `logits`, not filled."""
        v = columns.stop - columns.start
        within = within or slice(0, self.count)
        for start in range(within.start, within.stop, self._rows):
            rows = slice(start, min(start + self._rows, within.stop))
            n = rows.stop - rows.start
            yield rows, self._buffer[0, : n * v].view(n, v), self._buffer[1:, : n * v].view(-1, n, v)

    def remember_slope(self, z: Tensor) -> None:
        """Keeps what `add_gradient` needs of a tile before its logits are overwritten."""
        if self._slope is not None and self._outer_scale is not None:
            torch.mul(z, z, out=self._slope[: z.numel()].view_as(z))

    @property
    def gradient_dtype(self) -> torch.dtype:
        """What a tile's gradient is made in: an operand of the next products, unless the softcap comes in between."""
        return self.product_dtype if self._slope is None else self.dtype

    def add_gradient(
        self,
        g: Tensor,
        rows: slice,
        part: Tensor,
        hidden: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        *,
        first: bool = False,
    ) -> None:
        """Adds what the gradient ``g [n, v]`` in a tile's logits gives the sums that are wanted. Overwrites ``g``.

        ``part`` is the head's slice as `columns` handed it out; ``weight`` and ``bias`` are the sums of that slice,
        ``hidden`` that of all rows, all in `dtype` and still without `inner_scale`. ``first`` overwrites ``weight``.
        """
        self._through_cap(g)
        if bias is not None:
            bias += g.sum(0, dtype=self.dtype)
        g = g.to(self.product_dtype)
        if hidden is not None:
            _accumulate(hidden[rows], g, part)
        if weight is not None:
            _accumulate(weight, g.T, self.hidden[rows], first=first)

    def _through_cap(self, g: Tensor) -> None:
        """Gradient before the softcap, in place, of the tile remembered last: ``1 - tanh²``, times what came after."""
        if self._slope is not None and self._outer_scale is not None:
            slope = self._slope[: g.numel()].view_as(g)
            g.addcmul_(g, slope, value=-1.0 / self._outer_scale**2).mul_(self._outer_scale)

    def hidden_gradient(self, gradient: Tensor | None, hidden: Tensor, dtype: torch.dtype) -> Tensor | None:
        """The rows' gradient in the shape of the hidden states."""
        if gradient is None:
            return None
        gradient = gradient.mul_(self.inner_scale).to(dtype)
        if self.index is None:
            return gradient.view(hidden.shape)
        flat = gradient.new_zeros(hidden.numel() // hidden.shape[-1], hidden.shape[-1])
        return flat.index_copy_(0, self.index, gradient).view(hidden.shape)


def _accumulate(total: Tensor, a: Tensor, b: Tensor, *, first: bool = False) -> None:
    """``total += a @ b`` without rounding the product to the operands' dtype first; ``first`` overwrites instead."""
    if first:
        _product(a, b, None, 1.0, total)
    elif a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)


def _product(a: Tensor, b: Tensor, bias: Tensor | None, scale: float, out: Tensor) -> None:
    """``scale a @ b + bias``, of which the bias is already scaled."""
    if a.dtype != out.dtype:
        torch.mm(a, b, out_dtype=out.dtype, out=out)
        if scale != 1.0:
            out.mul_(scale)
        if bias is not None:
            out.add_(bias)
    elif bias is not None:
        torch.addmm(bias, a, b, alpha=scale, out=out)
    else:
        torch.mm(a, b, out=out)
        if scale != 1.0:
            out.mul_(scale)


def _product_dtype(hidden: Tensor, working: torch.dtype) -> torch.dtype:
    """On CUDA the dtype that the model's own head would multiply in; elsewhere the working dtype."""
    if not hidden.is_cuda:
        return working
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else hidden.dtype
