"""Through which paths a parameter acts, and through which of them the backward pass brings it a gradient.

They differ: an embedding gives its ``padding_idx`` row no gradient, and a model may compute a part of itself under
``torch.no_grad()``. Such a parameter still moves, by weight decay, by momentum, or for the gradient of another path (a
tied head), and its move then acts through every path. So the entropy's gradient ``∇H`` is taken `through_padding`,
while a token's ``∇log π`` is the one that the optimiser was given, and its derivative goes `as_backward`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only


@contextmanager
def through_padding() -> Iterator[None]:
    """A forward in here gives the padding rows of embeddings a gradient too, in its backward pass.

    What a model computes under ``torch.no_grad()`` stays without one.
    """
    with torch.compiler.set_stance("force_eager"), _ThroughPadding():
        yield


@contextmanager
def as_backward() -> Iterator[None]:
    """Derivatives of dual numbers pass where those of a backward pass would, and nowhere else.

    Forward mode by itself ignores both ``padding_idx`` and ``torch.no_grad()``. No graph is recorded.
    """
    # A compiled module would drop the derivatives, or not show its operations. With gradients enabled here, what is
    # switched off further in is the model's own doing.
    with torch.compiler.set_stance("force_eager"), torch.enable_grad(), _AsBackward():
        yield


def hidden_from_account(model: nn.Module) -> str | None:
    """The first embedding of which `as_backward` does not know the gradient, and why; None where it knows all.

    ``scale_grad_by_freq`` divides by counts over the whole micro-batch, of which an account may see some rows;
    a ``sparse`` gradient is not taken apart.
    """
    for name, module in model.named_modules():
        for option in ("scale_grad_by_freq", "sparse"):
            if isinstance(module, nn.Embedding) and getattr(module, option):
                return f"{name} has {option}=True"
    return None


class _ThroughPadding(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            kwargs = kwargs | {"padding_idx": None}
        return func(*args, **kwargs)


class _AsBackward(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch._C._set_grad_enabled:  # the no_grad() below would undo it at once
            return func(*args, **kwargs)
        if not torch.is_grad_enabled():
            # The arguments and not the answer: an operation in place changes what others hold.
            args, kwargs = tree_map_only(Tensor, _without_derivative, (args, kwargs))
        with torch.no_grad():
            answer = func(*args, **kwargs)
            if func is functional.embedding and kwargs["padding_idx"] is not None:
                ids, weight = args
                padding = (ids == kwargs["padding_idx"] % len(weight))[..., None]
                answer = torch.where(padding, answer.detach(), answer)
        return answer


def _without_derivative(x: Tensor) -> Tensor:
    return x if forward_ad.unpack_dual(x).tangent is None else x.detach()  # type: ignore[no-untyped-call]
