"""Attention whose softmax has a learnable temperature for every head and position (arXiv 2501.03489, section 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .checks import check_count, check_flags, check_number
from .chunked import attention_entropy_qk


class TemperedSoftmax(nn.Module):
    """a_ij = softmax_j(u_ij / t_i) with t ``[H, T]`` above 0: t → 0 gives entropy 0, t → ∞ a uniform row.

    The parameter is ``log_temperature``: no step of an optimiser leaves t > 0, and t = 1 is exact. Leave it out of
    weight decay, which would pull t to 1.

    Args:
        heads: H. context: T, the most positions. init: t at the start; 1 is the plain softmax. The paper starts at
            0.01 or 0.1, which makes logits a hundred or ten times as large.

    Raises:
        ValueError: sizes that are no whole numbers of at least 1, or an init that is no number above 0.
    """

    def __init__(self, heads: int, context: int, *, init: float = 1.0) -> None:
        super().__init__()
        for name, size in (("heads", heads), ("context", context)):
            check_count(size, "TemperedSoftmax", name)
        if not check_number(init, "TemperedSoftmax", "init") > 0.0:
            raise ValueError(f"TemperedSoftmax: the temperature must be a number above 0, got {init}")
        self.log_temperature = nn.Parameter(torch.full((heads, context), math.log(init)))

    @property
    def temperature(self) -> Tensor:
        """t, ``[H, T]``."""
        return self.log_temperature.exp()

    def forward(self, logits: Tensor, positions: Tensor | None = None) -> Tensor:
        """Attention ``[B, H, T, S]`` of logits of that shape; rows of -inf alone are 0.

        Args:
            positions: ``[T]`` or ``[B, T]``, of the queries in the context; 0 to T - 1 by default.

        Raises:
            ValueError: other heads, positions of another batch or length, or one beyond the context.
            TypeError: no tensor of real floats, or positions that are no whole numbers.
        """
        weights = (logits / self._of(logits, positions)).softmax(-1)
        return torch.where((logits == -torch.inf).all(-1, keepdim=True), 0.0, weights)

    def divide(self, query: Tensor, positions: Tensor | None = None) -> Tensor:
        """Queries ``[B, H, T, d]`` over their temperatures: a fused kernel that is given them has the tempered softmax.

        Additive masks are not divided then.

        Raises:
            ValueError: as `forward`.
        """
        return (query / self._of(query, positions)).to(query.dtype)

    def _of(self, tensor: Tensor, positions: Tensor | None) -> Tensor:
        """t of every row, broadcast to ``[B, H, T, 1]``."""
        heads, context = self.log_temperature.shape
        if not isinstance(tensor, Tensor) or not tensor.dtype.is_floating_point:
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"TemperedSoftmax: expected a tensor [B, {heads}, T, ...] of real floats, got {kind}")
        if tensor.dim() != 4 or tensor.shape[1] != heads:
            raise ValueError(f"TemperedSoftmax: expected [B, {heads}, T, ...], got {list(tensor.shape)}")
        length = tensor.shape[2]
        if positions is None:
            if length > context:
                raise ValueError(
                    f"TemperedSoftmax: {length} positions, but temperatures for {context}; make it with "
                    f"context={length}"
                )
            return self.temperature[:, :length, None]
        if positions.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"TemperedSoftmax: positions must be whole numbers, int64 or int32, got {positions.dtype}")
        if positions.dim() not in (1, 2) or positions.shape[-1] != length or positions.shape[:-1] not in (
            (), (1,), tensor.shape[:1]
        ):  # fmt: skip
            raise ValueError(
                f"TemperedSoftmax: positions must be [T] or [B, T] with T = {length}, got {list(positions.shape)}; of "
                f"a batch of {len(tensor)}"
            )
        if length and not 0 <= int(positions.min()) <= int(positions.max()) < context:
            raise ValueError(
                f"TemperedSoftmax: positions {int(positions.min())} to {int(positions.max())}, but temperatures for "
                f"{context}; make it with a larger context"
            )
        own = self.temperature[:, positions]
        return own[..., None] if positions.dim() == 1 else own.transpose(0, 1)[..., None]


class TemperedAttention(nn.Module):
    """Causal or full self-attention with a `TemperedSoftmax`, through the fused kernel.

    Args:
        dim: of inputs and outputs; ``heads`` divides it. context: the most positions. causal: as a decoder's.
        temperature: at the start. bias: of the projections.

    Raises:
        ValueError: heads that do not divide dim; or see `TemperedSoftmax`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        context: int,
        *,
        causal: bool = True,
        temperature: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        for name, size in (("dim", dim), ("heads", heads)):
            check_count(size, "TemperedAttention", name)
        if dim % heads:
            raise ValueError(f"TemperedAttention: heads must divide dim, got {heads} and {dim}")
        self.softmax = TemperedSoftmax(heads, context, init=temperature)
        self.enter = nn.Linear(dim, 3 * dim, bias=bias)
        self.leave = nn.Linear(dim, dim, bias=bias)
        self.causal = causal

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Outputs ``[B, T, dim]``.

        Args:
            x: ``[B, T, dim]``. real: bool ``[B, T]``, False of padding, which is not seen and whose outputs are the
                output layer's bias.

        Raises:
            ValueError: a longer context than its own, or shapes that do not fit.
        """
        query, key, value = self._heads(x)
        mask = self._mask(x, real)
        out = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=self.causal and mask is None)
        mixed: Tensor = self.leave(out.transpose(1, 2).flatten(2))
        return mixed

    def entropy(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Entropies ``[B, H, T]`` of its attention to ``x``, with gradient; 0 of padded queries without a key.

        Raises:
            ValueError: as `forward`, or NaN.
        """
        query, key, _ = self._heads(x)
        mask = self._mask(x, real)
        return attention_entropy_qk(query, key, mask=mask, causal=self.causal and mask is None)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads, dim = self.softmax.log_temperature.shape[0], self.leave.in_features
        if x.dim() != 3 or x.shape[2] != dim:
            raise ValueError(f"TemperedAttention: expected [B, T, {dim}], got {list(x.shape)}")
        query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in self.enter(x).chunk(3, -1))
        return self.softmax.divide(query), key, value

    def _mask(self, x: Tensor, real: Tensor | None) -> Tensor | None:
        if real is None:
            return None
        real = check_flags(real, "TemperedAttention", "real")
        if real.shape != x.shape[:2]:
            raise ValueError(f"TemperedAttention: real must be [B, T] = {list(x.shape[:2])}, got {list(real.shape)}")
        seen = (real[:, :, None] & real[:, None, :])[:, None]
        return seen.tril() if self.causal else seen
