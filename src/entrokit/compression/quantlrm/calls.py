"""What a module was called with while calibration data ran through a model, to call it again with other weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        args, kwargs: as it was called. keep: bool ``[batch, positions]``, tokens that count; None where all do.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    keep: Tensor | None = None


def as_calls(x: Tensor | Iterable[Call]) -> list[Call]:
    """A tensor is one call with it alone."""
    return [Call((x,))] if isinstance(x, Tensor) else list(x)


@torch.no_grad()
def output(module: nn.Module, call: Call, weights: dict[str, Tensor] | None = None) -> Tensor:
    """What a module gives, of a tuple the first, with these parameters in the place of its own; tokens that count."""
    args, kwargs = call.args, dict(call.kwargs)
    found = functional_call(module, weights, args, kwargs) if weights else module(*args, **kwargs)
    found = found[0] if isinstance(found, tuple) else found
    if not isinstance(found, Tensor):
        raise TypeError(f"a {type(module).__name__} gives a {type(found).__name__}, and a tensor is compared")
    return found if call.keep is None else found[call.keep]


def inputs(calls: Sequence[Call]) -> Tensor:
    """Of a linear layer: its inputs as rows, ``[tokens, in]``."""
    rows = [call.args[0] if call.keep is None else call.args[0][call.keep] for call in calls]
    return torch.cat([one.reshape(-1, one.shape[-1]) for one in rows])


def mean_squared_difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Over all entries, in float32 or better."""
    total = 0.0
    for a, b in zip(one, other, strict=True):
        total += float((a - b if a.dtype == torch.float64 else a.float() - b.float()).square().sum())
    return total / sum(a.numel() for a in one)
