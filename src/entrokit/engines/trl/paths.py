"""Through which paths a parameter acts, and through which of them the backward pass brings it a gradient.

They differ: an embedding gives its ``padding_idx`` row no gradient, and a model may close a part of itself with
``torch.no_grad()``. Such a parameter still moves, by weight decay, by momentum, or through another path (a tied head),
and its move then acts through every path. So the entropy's gradient ``∇H`` goes through the padding row
(`ThroughPadding`), while a token's ``∇log π`` is the one that the optimiser was given (`AsBackward`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only


class ThroughPadding(TorchFunctionMode):
    """While a forward runs: its backward pass gives the padding row of every embedding its gradient too."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            kwargs = kwargs | {"padding_idx": None}
        return func(*args, **kwargs)


class AsBackward(TorchFunctionMode):
    """While a forward runs with dual numbers: derivatives pass where a backward pass would, and nowhere else.

    Forward mode by itself ignores both ``padding_idx`` and ``torch.no_grad()``. No graph is recorded.
    Enter it with gradients enabled: what the model then switches off is the model's own.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch._C._set_grad_enabled:  # under no_grad() below it would be undone at once
            return func(*args, **kwargs)
        if not torch.is_grad_enabled():
            args, kwargs = tree_map_only(Tensor, _without_derivative, (args, kwargs))
        with torch.no_grad():
            answer = func(*args, **kwargs)
            if func is functional.embedding and kwargs.get("padding_idx") is not None:
                ids, weight = args
                padding = (ids == kwargs["padding_idx"] % len(weight))[..., None]
                answer = torch.where(padding, answer.detach(), answer)
        return answer


def without_shares(model: nn.Module) -> str | None:
    """Why the shares of this model's tokens would not add up; None where they do."""
    for name, module in model.named_modules():
        for option in ("scale_grad_by_freq", "sparse"):
            if getattr(module, option, False) is True and isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                return f"{name} has {option}=True"
    return None


def _without_derivative(x: Tensor) -> Tensor:
    return x if forward_ad.unpack_dual(x).tangent is None else x.detach()  # type: ignore[no-untyped-call]
