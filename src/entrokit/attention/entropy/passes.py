"""Forward passes of modules while they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Pass:
    """Whether one of the modules that are followed runs, and whether the outermost was called with gradients."""

    def __init__(self) -> None:
        self._outermost: nn.Module | None = None
        self._grad = False

    @property
    def running(self) -> bool:
        return self._outermost is not None

    def refuse_reentrant(self, who: str, name: str) -> None:
        """Raises RuntimeError where a layer runs without gradients inside of a pass that has them."""
        if self.running and self._grad and not torch.is_grad_enabled():
            raise RuntimeError(
                f"{who}: {name} runs without gradients inside of a pass that has them, as reentrant checkpointing "
                "does; use gradient_checkpointing_kwargs={'use_reentrant': False}, or leave a part that is frozen so "
                "out by include="
            )

    def _begin(self, module: nn.Module, *_: Any) -> None:
        if self._outermost is None:
            self._outermost, self._grad = module, torch.is_grad_enabled()

    def _end(self, module: nn.Module, *_: Any) -> None:
        if self._outermost is module:
            self._outermost = None


@contextmanager
def following(modules: Iterable[nn.Module]) -> Iterator[Pass]:
    """Follows the passes of modules, of which some may be parts of others, while the block runs."""
    seen, hooks = Pass(), []
    try:
        for module in modules:
            hooks.append(module.register_forward_pre_hook(seen._begin))
            hooks.append(module.register_forward_hook(seen._end, always_call=True))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
