"""The tracker as a callback of the `transformers` trainer."""

from __future__ import annotations

from typing import Any

from entrokit.extras import require

from .tracker import LazinessTracker


class _Watch:
    """Hooks of a `TrainerCallback`; `history` has a row of `LazinessTracker.snapshot` for every line of the log."""

    def __init__(self, tracker: LazinessTracker) -> None:
        self.tracker = tracker
        self.history: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.tracker.history:
            self.tracker.snapshot()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = float(state.global_step)
        # The trainer's last line, its summary, is of a step that has been measured.
        if not self.history or self.history[-1]["step"] != step:
            self.history.append({"step": step} | self.tracker.snapshot())


def laziness_callback(tracker: LazinessTracker) -> Any:
    """A `transformers.TrainerCallback` that measures a run: at its start, and at every step of which the trainer logs.

    Its ``history`` has a row for each of these steps: the step, and what `LazinessTracker.report` describes. A tracker
    that has a start already, from a checkpoint, keeps it.

    Args:
        tracker: of the model that the trainer trains, with probes on the device that it is trained on.

    Raises:
        MissingExtraError: `transformers` is not installed.
    """
    require("a callback of transformers", "trl")
    from transformers import TrainerCallback

    return type("LazinessCallback", (_Watch, TrainerCallback), {})(tracker)
