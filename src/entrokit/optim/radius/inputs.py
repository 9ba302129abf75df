"""What a model is called with, some of its rows, and the rows of a step of training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

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
    """What a model was trained on since `clear`, by hooks on it and its parameters from `attach` to `detach`.

    Whoever copies or saves the model copies the hook along: the copy is detached, and remembers nothing.
    """

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=_REMEMBERED)
        self._learned = 0
        self._handles: list[RemovableHandle] = []

    def attach(self, model: nn.Module, parameters: Iterable[Tensor]) -> None:
        """Watches this model alone, and the gradients of these parameters."""
        self.detach()
        self._handles = [model.register_forward_pre_hook(self, with_kwargs=True)]
        self.follow(parameters)

    def follow(self, parameters: Iterable[Tensor]) -> None:
        """Watches the gradients of more parameters."""
        hook = self._backward
        for p in parameters:
            if p.requires_grad:
                self._handles.append(p.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]

    def detach(self) -> None:
        """Removes the hooks, and forgets."""
        while self._handles:
            self._handles.pop().remove()
        self.clear()

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._handles and module.training and torch.is_grad_enabled():
            if len(self.calls) == _REMEMBERED:
                self._learned = max(0, self._learned - 1)
            self.calls.append(Call(args, dict(kwargs)))

    def _backward(self, parameter: Tensor) -> None:
        self._learned = len(self.calls)

    def clear(self) -> None:
        self.calls.clear()
        self._learned = 0

    def drop_learned(self) -> None:
        """Forgets calls before the last backward pass: their gradients are being thrown away.

        A call whose backward pass is still to come stays, as in ``loss = ...; zero_grad(); loss.backward()``.
        """
        for _ in range(self._learned):
            self.calls.popleft()
        self._learned = 0

    def __getstate__(self) -> dict[str, Any]:
        return LastInputs().__dict__


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
