"""Holds what a loss stops the gradient of, so that differences of the loss see what its gradient sees.

The gradient of ``sg(w(x)) f(x)`` is not the slope of ``w(x) f(x)``; it is that of ``w(x₀) f(x)`` at ``x = x₀``. The
values that were detached at x₀ are noted in order, and put in the place of those of the same calls at every other x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# `Tensor.data` is a property of C, which has the name of a function here.
_DATA: Any = Tensor.data
_DETACH = {
    Tensor.detach,
    Tensor.detach_,
    torch.detach,
    _DATA.__get__,
    Tensor.item,
    Tensor.tolist,
    Tensor.__float__,
}


class StopGradients(TorchFunctionMode):
    """Inside it, a function is computed at one point after another; the first is that at which is held.

    What counts as stopped: `detach`, `data`, `item`, `tolist` and `float`, and whatever runs under `torch.no_grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Any] = []
        self._next: int | None = None
        self._without_gradient = False

    def at(self, compute: Callable[[], Tensor]) -> Tensor:
        """``compute()`` with what is stopped held at the first call's point.

        Raises:
            AssertionError: it took another branch than there.
        """
        self._next = None if not self._held else 0
        self._without_gradient = False
        with self:
            result = compute()
        if self._next is not None and self._next != len(self._held):
            raise AssertionError("the loss takes another branch a millionth away")
        return result

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch._C._set_grad_enabled:
            self._without_gradient = not args[0]
        elif func in _DETACH or (self._without_gradient and isinstance(result, Tensor)):
            return self._stopped(result)
        return result

    def _stopped(self, result: Any) -> Any:
        if self._next is None:
            self._held.append(result.clone() if isinstance(result, Tensor) else result)
            return result
        if self._next >= len(self._held):
            raise AssertionError("the loss takes another branch a millionth away")
        held = self._held[self._next]
        self._next += 1
        return held.clone() if isinstance(held, Tensor) else held
