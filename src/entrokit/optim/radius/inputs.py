"""What a model is called with, some of its rows, and the rows of a step of training."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Micro-batches of one step that are remembered; of a step with more, the last ones.
_REMEMBERED = 64


@dataclass(frozen=True)
class Call:
    """Arguments of a model. Every tensor whose first dimension is that of the first tensor has a row a sample."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @classmethod
    def of(cls, inputs: Any) -> Call:
        """From a mapping (keywords), a tuple or a list (arguments), or one argument."""
        if isinstance(inputs, Call):
            return inputs
        if isinstance(inputs, Mapping):
            return cls((), dict(inputs))
        return cls(tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {})

    def __len__(self) -> int:
        """Rows; 0 where there is no tensor."""
        every = (x for x in (*self.args, *self.kwargs.values()) if isinstance(x, Tensor) and x.dim())
        first = next(every, None)
        return 0 if first is None else len(first)

    def rows(self, index: Tensor) -> Call:
        """The call with some of its rows."""
        n = len(self)

        def some(x: Any) -> Any:
            own = isinstance(x, Tensor) and x.dim() and len(x) == n
            return x.detach()[index.to(x.device)] if own else x

        return Call(tuple(some(x) for x in self.args), {name: some(x) for name, x in self.kwargs.items()})


class LastInputs:
    """A forward pre-hook that remembers what a model was trained on since `clear`; a copy of one remembers nothing."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=_REMEMBERED)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module.training and torch.is_grad_enabled():
            self.calls.append(Call(args, dict(kwargs)))

    def clear(self) -> None:
        self.calls.clear()

    def __getstate__(self) -> dict[str, Any]:
        # Whoever copies or saves the model would otherwise take a batch along.
        return {"calls": deque(maxlen=_REMEMBERED)}


def draw(calls: list[Call], most: int | None, generator: torch.Generator) -> tuple[list[Call], int]:
    """At most so many rows of all calls, uniformly and without replacement, and how many rows there are."""
    sizes = [len(call) for call in calls]
    total = sum(sizes)
    if most is None or total <= most:
        return [call for call, size in zip(calls, sizes, strict=True) if size], total
    chosen = torch.randperm(total, generator=generator)[:most].sort().values
    drawn, start = [], 0
    for call, size in zip(calls, sizes, strict=True):
        own = chosen[(chosen >= start) & (chosen < start + size)] - start
        if len(own):
            drawn.append(call.rows(own))
        start += size
    return drawn, total
