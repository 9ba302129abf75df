"""The monitor as a callback of the `transformers` trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from entrokit.extras import require

from .monitor import NoetherMonitor
from .symmetry import Symmetry


class _Watch:
    """Hooks of a `TrainerCallback`; `history` has a row of `NoetherMonitor.summary` for every line of the log."""

    def __init__(self, groups: Sequence[Symmetry] | None, tolerance: float | None) -> None:
        self._groups, self._tolerance = groups, tolerance
        self.monitor: NoetherMonitor | None = None
        self.history: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        self.monitor = NoetherMonitor(model, kwargs["optimizer"], self._groups, tolerance=self._tolerance)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.monitor is not None:
            self.monitor.after_step()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.monitor is not None and self.monitor.steps:
            self.history.append({"step": float(state.global_step)} | self.monitor.summary())


def noether_callback(groups: Sequence[Symmetry] | None = None, *, tolerance: float | None = None) -> Any:
    """A `transformers.TrainerCallback` that monitors a run whose optimizer is SGD.

    Its ``monitor`` is there once training has begun; ``history`` has a row for every line that the trainer logs: the
    step, and `NoetherMonitor.summary`. Gradient clipping and accumulation are before the step, and change nothing.

    Args:
        groups, tolerance: of `NoetherMonitor`, whose errors come when training begins.

    Raises:
        MissingExtraError: `transformers` is not installed.
    """
    require("a callback of transformers", "trl")
    from transformers import TrainerCallback

    return type("NoetherCallback", (_Watch, TrainerCallback), {})(groups, tolerance)
