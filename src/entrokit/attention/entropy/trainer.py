"""Shares of heads by entropy, as a callback of the `transformers` trainer."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

from torch import nn

from entrokit.extras import require

from .checks import check_count
from .taps import Include, check_include
from .watch import AttentionWatch, watch_attention


class _Watcher:
    """Hooks of a `TrainerCallback`; ``history`` has a row for every line of the log that watched steps lie behind."""

    def __init__(self, every: int, context: int | None, include: Include | None) -> None:
        who = "attention_entropy_callback"
        check_include(include, who)
        check_count(every, who, "every")
        if context is not None:
            check_count(context, who, "context", 2)
        self._every, self._include = every, include
        self._maximum = None if context is None else math.log(context)
        self._stack = ExitStack()
        self._steps = 0
        self.watch: AttentionWatch | None = None
        self.history: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        self._stack.close()
        self.watch = self._stack.enter_context(watch_attention(model, include=self._include))
        self.watch.active = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch is not None:
            self.watch.active = state.global_step % self._every == 0
            self._steps += self.watch.active

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch is not None:
            self.watch.active = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.watch is None or not self._steps:
            return
        found = self.watch.summary(maximum=self._maximum)
        self.history.append({"step": float(state.global_step)} | found)
        # Into the saved state of the trainer, and to the callbacks that come after this one.
        if state.log_history:
            state.log_history[-1].update(found)
        if logs is not None:
            logs.update(found)
        self.watch.reset()
        self._steps = 0

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._stack.close()
        self.watch = None


def attention_entropy_callback(*, every: int = 10, context: int | None = None, include: Include | None = None) -> Any:
    """A `transformers.TrainerCallback` that logs shares of heads by quarters of entropy.

    Every line of the log gets `AttentionWatch.summary` of the rows of the steps that were watched since the last one;
    ``history`` keeps them, with the step. Steps are watched as they train, with dropout in the rest of the model.
    Each process sees its own rows. After training nothing is left on the model; where it ends with an error, call
    ``on_train_end(None, None, None)``. Give the trainer what the call returns: the function's name is no callback.

    Args:
        every: watches one step of so many, all its micro-batches. Lines of the log without a watched step get nothing.
        context: T, to take quarters of log T; by default they are of the largest entropy observed.
        include: see `watch_attention`, whose errors come when training begins.

    Raises:
        ValueError: every is no whole number of at least 1, or context none of at least 2.
        TypeError: include is no function.
        MissingExtraError: `transformers` is not installed.
    """
    require("a callback of transformers", "trl")
    from transformers import TrainerCallback

    return type("AttentionEntropyCallback", (_Watcher, TrainerCallback), {})(every, context, include)
