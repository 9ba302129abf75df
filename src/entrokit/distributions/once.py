"""Gradients formed by hand: differentiable no further, and whoever differentiates them is told.

torch's own ``once_differentiable`` raises only where the incoming gradient has a graph of its own. Through
``loss.backward(create_graph=True)`` of a plain mean it has none, and second derivatives would silently be 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


def remember_inputs(ctx: Any, *inputs: Tensor | None) -> None:
    """Called in ``forward``: what `differentiable_once` needs of inputs ``[..., n]``, which is none of their memory."""
    with torch.enable_grad():
        ctx.origins = [x[..., :0].clone() for x in inputs if x is not None and x.requires_grad]


def differentiable_once(who: str) -> Callable[[Callable[..., Gradients]], Callable[..., Gradients]]:
    """Decorates the ``backward`` of a function whose ``forward`` called `remember_inputs`.

    Its results raise `NotImplementedError`, which names ``who``, where they are differentiated.
    """

    def decorate(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
        @wraps(backward)
        def run(ctx: Any, *upstream: Tensor | None) -> Gradients:
            with torch.no_grad():
                found = backward(ctx, *upstream)
            if not torch.is_grad_enabled():
                return found
            sources = [*ctx.origins, *upstream]
            closed: Gradients = _Closed.apply(who, len(sources), *sources, *found)  # type: ignore[no-untyped-call]
            return closed

        return run

    return decorate


class _Closed(torch.autograd.Function):
    """Gradients as they are, with a graph that leads to what they depend on and lets nothing through."""

    @staticmethod
    def forward(ctx: Any, who: str, sources: int, *tensors: Tensor | None) -> Gradients:
        ctx.who = who
        return tensors[sources:]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> None:
        raise NotImplementedError(
            f"{ctx.who} is differentiable once; second derivatives (a gradient penalty, Hessian-vector products, "
            "create_graph=True) need differences of its gradients, or the loss written with torch's own functions"
        )


def kept_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of gradients that wait for the gradient of their loss: a loss scale is there for what float16 has no room for."""
    return torch.float32 if dtype == torch.float16 else dtype


def hand_out(ctx: Any, who: str, grad: Tensor) -> Gradients:
    """``ctx.gradients``, formed with a loss, times that of the loss, in ``ctx.dtypes``: for one backward pass.

    Raises:
        RuntimeError: they were handed out before.
    """
    gradients, ctx.gradients = ctx.gradients, None
    if gradients is None:
        raise RuntimeError(f"{who}: its gradients were formed once and handed out; backward ran before")
    # A number, not a tensor: that would be rounded to a half-precision gradient's dtype first.
    factor = float(grad)
    scaled = (g if g is None or factor == 1.0 else g.mul_(factor) for g in gradients)
    return tuple(None if g is None else g.to(dtype) for g, dtype in zip(scaled, ctx.dtypes, strict=True))
