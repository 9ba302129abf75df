"""Forward passes of modules while they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class Pass:
    """Whether one of the modules that are followed runs, and whether the outermost was called with gradients.

    ``over`` says that the block has ended, after which nothing is followed.
    """

    def __init__(self) -> None:
        # By number: dynamo, which traces hooks too, does not follow a module that is kept in state.
        self._outermost: int | None = None
        self._grad = False
        self.over = False

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

    def _begin(self, number: int, *_: Any) -> None:
        if self._outermost is None:
            self._outermost, self._grad = number, torch.is_grad_enabled()

    def _end(self, number: int, *_: Any) -> None:
        if self._outermost == number:
            self._outermost = None


@contextmanager
def following(modules: Iterable[nn.Module]) -> Iterator[Pass]:
    """Follows the passes of modules, of which some may be parts of others, while the block runs."""
    seen, hooks = Pass(), []
    try:
        for number, module in enumerate(modules):
            hooks.append(module.register_forward_pre_hook(partial(seen._begin, number)))
            hooks.append(module.register_forward_hook(partial(seen._end, number), always_call=True))
        yield seen
    finally:
        seen.over = True
        for hook in hooks:
            hook.remove()


def checkpointed() -> bool:
    """Whether what is computed now is checkpointed, not reentrantly; False where torch does not say."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    hooks = None if top is None else top(True)
    return hooks is not None and getattr(hooks[0], "__module__", None) == "torch.utils.checkpoint"


def held(value: Tensor, whole: Pass, who: str) -> Tensor:
    """The same values, whose backward pass raises RuntimeError once the block is over.

    Taken after the pass, so that autograd comes to it before it comes to the pass's own layers.
    """
    return _Held.apply(value, whole, who)  # type: ignore[no-any-return, no-untyped-call]


class _Held(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, whole: Pass, who: str) -> Tensor:
        ctx.whole, ctx.who = whole, who
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        if ctx.whole.over:
            raise RuntimeError(
                f"{ctx.who}: backward after the block has ended, of checkpointed layers; they run again in it, and "
                "unwatched they would save other tensors than before: call backward inside of the block (in a Trainer "
                "put it around super().training_step(...), not into compute_loss)"
            )
        return upstream, None, None
