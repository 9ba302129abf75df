"""One step of Lion-K on tensors, in pieces that stay small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .convex import ConvexK

SCHEMES = ("explicit", "implicit")

# Elements worked on at a time. On a processor a piece stays in cache over all operations of a step.
_PIECE_ON_CPU = 2**17
_PIECE = 2**24


class Moving(NamedTuple):
    """A parameter, its gradient and its momentum, of one shape."""

    x: Tensor
    g: Tensor
    m: Tensor


@dataclass(frozen=True)
class Rule:
    """What a param group asks for.

    Attributes:
        rate, shrink: x ← shrink · x + rate · ∇K. betas: of the direction, of the momentum.
        maximize: follow the gradient, not minus it. foreach: many tensors at a time, large ones in pieces.
    """

    K: ConvexK
    rate: float
    shrink: float
    betas: tuple[float, float]
    maximize: bool
    foreach: bool


def update(rule: Rule, moving: Iterable[Moving]) -> None:
    """Move parameters and momenta, in place.

    With ``foreach`` it takes two more buffers of 2²⁴ elements (2¹⁷ on a processor), or of the largest tensor where K
    or the tensor cannot be cut. Without, two of the largest tensor.
    """
    for piece in _pieces(moving, rule.K.elementwise) if rule.foreach else ([one] for one in moving):
        xs, gs, ms = ([one[i] for one in piece] for i in range(3))
        beta1, beta2 = rule.betas
        towards = gs if rule.maximize else list(torch._foreach_neg(gs))
        directions = list(torch._foreach_lerp(ms, towards, 1.0 - beta1))
        _through(rule.K, directions)
        if rule.shrink != 1.0:
            torch._foreach_mul_(xs, rule.shrink)
        torch._foreach_add_(xs, directions, alpha=rule.rate)
        torch._foreach_lerp_(ms, towards, 1.0 - beta2)


def _through(K: ConvexK, zs: list[Tensor]) -> None:
    """∇K over each, in its place."""
    in_place = getattr(K, "foreach_grad_", None)
    if in_place is not None:
        in_place(zs)
        return
    for i, z in enumerate(zs):
        direction = K.grad(z)
        if direction.shape != z.shape:
            raise ValueError(
                f"{type(K).__qualname__}.grad gave shape {list(direction.shape)} for a tensor of {list(z.shape)}"
            )
        zs[i] = direction.to(z.dtype)


def _pieces(moving: Iterable[Moving], elementwise: bool) -> Iterator[list[Moving]]:
    """Lists of one device and dtype, of so many elements together, or of one tensor that has more."""
    piece: list[Moving] = []
    held = 0
    for one in moving:
        at_most = _PIECE_ON_CPU if one.x.device.type == "cpu" else _PIECE
        for part in _parts(one, at_most) if elementwise else [one]:
            unlike = piece and (piece[0].x.device, piece[0].x.dtype) != (part.x.device, part.x.dtype)
            if piece and (unlike or held + part.x.numel() > at_most):
                yield piece
                piece, held = [], 0
            piece.append(part)
            held += part.x.numel()
    if piece:
        yield piece


def _parts(one: Moving, at_most: int) -> Iterable[Moving]:
    if one.x.numel() <= at_most or not all(tensor.is_contiguous() for tensor in one):
        return [one]
    flat = (torch.split(tensor.detach().view(-1), at_most) for tensor in one)
    return (Moving(*parts) for parts in zip(*flat, strict=True))
