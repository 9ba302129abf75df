"""The loss of a language model's head: hidden states and weights in, gradients in both out, few rows of logits at once.

Rows of the student's logits are made from hidden states, ranked by the teacher and turned in place into the loss's
gradient in them, and that into its part of the gradients in hidden states and head, before the next rows are made:
three matrix products, and memory that does not grow with the number of positions but for what has their shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entrokit.distributions import chunked
from entrokit.distributions.linear import check_head
from entrokit.distributions.once import Gradients, differentiable_once, hand_out, kept_dtype, remember_inputs
from entrokit.distributions.tiles import Tiles

from .checks import Places, check_options, check_tensor, labelled, written
from .full import LogitsOf, RankedByLogits
from .loss import RowLoss
from .topk import RankedByTopK, TopKTeacher, check_top_k
from .weights import place_weights

# Logits of a model that are there at once: 64 MiB in float32; on CUDA more, to keep the matrix products busy.
KEPT_ELEMENTS, CUDA_KEPT_ELEMENTS = 1 << 24, 1 << 28


@dataclass(frozen=True)
class TeacherHead:
    """A teacher by its last hidden states and its head; no gradient reaches it.

    Attributes:
        hidden: ``[..., d]``; its width need not be the student's. weight: ``[V, d]``. bias: ``[V]``.
        softcap: see `linear_pld_loss`.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None


def linear_pld_loss(
    hidden: Tensor,
    weight: Tensor,
    teacher: TeacherHead | TopKTeacher,
    target: Tensor,
    temperature: float = 1.0,
    weights: str | Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> Tensor:
    """`pld_loss` (of a `TopKTeacher`, `topk_pld_loss`) of the logits ``cap(hidden @ weight.T + bias)``: 0-dim, nats.

    Differentiable once in hidden, weight and bias; the gradients are formed with the loss and handed out by the first
    backward pass. A model that multiplies its logits by a scale has its hidden states multiplied by it.

    Args:
        hidden: ``[..., d]``. weight: ``[V, d]``. bias: ``[V]``. target: ``[...]``.
        temperature, weights: of a `TeacherHead` alone; ``weights`` by name or ``[V]``.
        reduction: ``"mean"`` or ``"sum"``; gradient accumulation takes the sum, over the tokens of all micro-batches.
        softcap: ``cap(z) = softcap tanh(z / softcap)``, > 0; None for none.

    Raises:
        TypeError: a teacher that is neither; else as `pld_loss` or `topk_pld_loss`.
        ValueError: as there; shapes of hidden states, heads and biases that do not fit; a softcap that is not above 0;
            a temperature or weights for a top k; a sharded head.
        NotImplementedError: the gradient is differentiated. RuntimeError: a second backward pass.
    """
    check_options(temperature, reduction, ("mean", "sum"))
    check_tensor("hidden", hidden)
    _check_model("", hidden, hidden, weight, bias, softcap)
    shape = torch.Size([*hidden.shape[:-1], len(weight)])
    if isinstance(teacher, TopKTeacher):
        if temperature != 1.0 or weights is not None:
            raise ValueError("temperature, weights: a top k comes at its own temperature, with its own weights")
        places, ids, alpha = check_top_k(teacher, target, shape, ignore_index, hidden, "hidden")
        ranked: RowLoss = RankedByTopK(ids, alpha, places)
    elif isinstance(teacher, TeacherHead):
        places = labelled(target, shape[:-1], shape[-1], ignore_index, hidden, "hidden")
        alpha_of_places = None if weights is None else place_weights(weights, shape[-1:], hidden.device)
        labels = places.take(target.reshape(-1), slice(0, places.count)).long()
        ranked = RankedByLogits(
            _logits_of(teacher, shape, places, target), labels, places, temperature, alpha_of_places
        )
    else:
        got = type(teacher).__name__
        raise TypeError(
            f"teacher: a TeacherHead or a TopKTeacher, got {got}; TeacherHead(hidden, lm_head.weight) is one, and "
            "TopKTeacher.of(logits, k, labels) makes the other of logits"
        )
    scale = 1.0 / max(1, places.count) if reduction == "mean" else 1.0
    loss: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, softcap, target, places, ranked, scale
    )
    return loss


def _check_model(
    whose: str, like: Tensor | None, hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None
) -> None:
    for name, x in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        if x is None:
            continue
        check_tensor(f"{whose}{name}", x, like)
        if not x.dtype.is_floating_point:
            raise TypeError(f"{whose}{name}: expected floating point numbers, got {x.dtype}")
        if hasattr(x, "full_tensor"):
            raise ValueError(
                f"{whose}{name}: is sharded; pass its full_tensor(), or call the loss where it is gathered"
            )
    if not hidden.dim() or weight.dim() != 2 or not len(weight):
        raise ValueError(
            f"{whose}hidden, {whose}weight: expected shapes [..., d] and [V, d], got {list(hidden.shape)} and "
            f"{list(weight.shape)}"
        )
    if hidden.shape[-1] == len(weight) != weight.shape[1]:
        raise ValueError(
            f"{whose}hidden: {list(hidden.shape)} has the {len(weight)} classes of {whose}weight {list(weight.shape)} "
            "last, as logits have; pass the last_hidden_state of the model without its head, or the logits to pld_loss"
        )
    nothing = torch.empty(hidden.shape[:-1], device="meta")
    check_head(hidden, weight, bias, nothing, 1.0, softcap, ())


def _logits_of(teacher: TeacherHead, shape: torch.Size, places: Places, target: Tensor) -> LogitsOf:
    """The teacher's logits, a few rows at a time."""
    _check_model("teacher.", target, teacher.hidden, teacher.weight, teacher.bias, teacher.softcap)
    hidden, weight = teacher.hidden.detach(), teacher.weight.detach()
    bias = None if teacher.bias is None else teacher.bias.detach()
    if hidden.shape[:-1] != shape[:-1] or len(weight) != shape[-1]:
        raise ValueError(
            f"teacher: expected hidden {written(*shape[:-1], 'd')} and weight {written(shape[-1], 'd')} of the "
            f"student's classes, got {list(hidden.shape)} and {list(weight.shape)}"
        )
    tiles = Tiles(hidden, weight, bias, target, places.index, 1.0, teacher.softcap, chunked)

    def logits_of(part: slice) -> Tensor:
        t = torch.empty(part.stop - part.start, len(weight), dtype=tiles.dtype, device=hidden.device)
        _fill(tiles, part, t)
        return t

    return logits_of


def _fill(tiles: Tiles, part: slice, z: Tensor) -> None:
    for columns, _ in tiles.columns():
        for rows, _, _ in tiles.buffers(columns, part):
            tiles.fill(rows, z[rows.start - part.start : rows.stop - part.start, columns])


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        target: Tensor,
        places: Places,
        ranked: RowLoss,
        scale: float,
    ) -> Tensor:
        remember_inputs(ctx, hidden, weight, bias)
        tiles = Tiles(hidden, weight, bias, target, places.index, 1.0, softcap, chunked)
        sums = _Sums(tiles, weight, bias, ctx.needs_input_grad[:3])
        wanted = any(ctx.needs_input_grad[:3])
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        kept = CUDA_KEPT_ELEMENTS if hidden.is_cuda else KEPT_ELEMENTS
        size = min(max(1, kept // len(weight)), max(1, places.count))
        buffer = torch.empty(size, len(weight), dtype=tiles.dtype, device=hidden.device)
        for start in range(0, places.count, size):
            part = slice(start, min(start + size, places.count))
            z = buffer[: part.stop - start]
            _fill(tiles, part, z)
            capped = z.clone() if wanted and softcap is not None else z
            total += ranked(part, z, gradient=wanted).sum()
            if wanted:
                sums.add(z, capped, part)
        ctx.gradients = sums.finish(hidden, weight, bias, scale)
        ctx.dtypes = [None if x is None else x.dtype for x in (hidden, weight, bias)]
        return (total * scale).to(tiles.dtype)

    @staticmethod
    @differentiable_once("linear_pld_loss")
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        return *hand_out(ctx, "linear_pld_loss", grad), *((None,) * 5)


class _Sums:
    """Sums of the gradients in hidden states, head and bias, in the working dtype."""

    def __init__(self, tiles: Tiles, weight: Tensor, bias: Tensor | None, wanted: tuple[bool, ...]) -> None:
        def zeros(like: Tensor) -> Tensor:
            return torch.zeros(like.shape, dtype=tiles.dtype, device=like.device)

        self._tiles = tiles
        self._hidden = zeros(tiles.hidden) if wanted[0] else None
        self._weight = zeros(weight) if wanted[1] else None
        self._bias = zeros(bias) if wanted[2] and bias is not None else None

    def add(self, gradient: Tensor, capped: Tensor, part: slice) -> None:
        """Adds what the gradient ``[n, V]`` in the logits of rows, and those logits where they were capped, give."""
        tiles = self._tiles
        for columns, head in tiles.columns():
            weight = None if self._weight is None else self._weight[columns]
            bias = None if self._bias is None else self._bias[columns]
            for rows, _, _ in tiles.buffers(columns, part):
                local = slice(rows.start - part.start, rows.stop - part.start)
                tiles.remember_slope(capped[local, columns])
                tiles.add_gradient(gradient[local, columns], rows, head, self._hidden, weight, bias)

    def finish(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float) -> Gradients:
        """The gradients of ``scale`` times the sum of losses, in the shapes of what they belong to."""
        inner = self._tiles.inner_scale
        for total, by in ((self._hidden, scale), (self._weight, scale * inner), (self._bias, scale * inner)):
            if total is not None and by != 1.0:
                total.mul_(by)
        d_weight = None if self._weight is None else self._weight.to(kept_dtype(weight.dtype))
        d_bias = None if self._bias is None or bias is None else self._bias.to(kept_dtype(bias.dtype))
        return self._tiles.hidden_gradient(self._hidden, hidden, kept_dtype(hidden.dtype)), d_weight, d_bias
