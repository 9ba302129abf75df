"""The radius in a `transformers.Trainer`, with whichever optimiser it has."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import torch

from entrokit.extras import missing

from .inputs import LastInputs
from .meter import StepMeter, StepRadius, step_spreads
from .slopes import check_method
from .spread import check_class_dim

# Measurements that are kept at hand; all of them are in the trainer's log.
_KEPT = 10_000


def radius_callback(
    target_r: float = math.inf,
    *,
    every: int = 1,
    max_samples: int | None = 256,
    reduction: str | float = "max",
    method: str = "auto",
    class_dim: int | None = -1,
) -> Any:
    """A `transformers.TrainerCallback`: measures a trainer's steps in radii, and shortens longer ones to ``target_r``.

        trainer.add_callback(radius_callback())               # logs radius/r, radius/scale, radius/shortfall
        trainer.add_callback(radius_callback(target_r=1.0))   # and takes back what is beyond 1

    What is logged are means over the measured steps of a log (``radius/r_max``: the largest). ``history`` holds pairs
    of a step and its `StepRadius`. Language models are looked at by position, through their head in chunks.

    Args:
        target_r: see `RadiusClip`. Infinite only measures: a step that is NaN or infinite passes, with an infinite r. A
            finite one ends the run there.
        every: one step of so many is measured; clipping needs 1.
        max_samples: rows (sequences) of a step, drawn by lot. reduction, method, class_dim: see `RadiusClip`.

    Raises:
        ImportError: `transformers` is not installed.
        ValueError: an option out of range; when training begins: FSDP or DeepSpeed, which hold parameters in pieces.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise missing("radius_callback", ["transformers"]) from error
    if every < 1 or (every > 1 and not math.isinf(target_r)):
        raise ValueError(f"radius_callback: every must be at least 1, and 1 with a finite target_r, got {every}")
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"radius_callback: max_samples must be at least 1, or None for all, got {max_samples}")
    check_method(method)
    check_class_dim(class_dim)
    meter = StepMeter(target_r, reduction=reduction)

    class RadiusCallback(TrainerCallback):  # type: ignore[misc]
        """See `radius_callback`."""

        def __init__(self) -> None:
            self.history: deque[tuple[int, StepRadius]] = deque(maxlen=_KEPT)
            self._seen, self._open = LastInputs(), False
            self._fresh: list[StepRadius] = []

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if getattr(args, "deepspeed", None) or getattr(args, "fsdp", None):
                raise ValueError("radius_callback: FSDP and DeepSpeed hold parameters in pieces; leave it out here")
            self._seen.attach(kwargs["model"], ())
            self._open, self._fresh = False, []

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._seen.detach()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % every == 0:
                groups = kwargs["optimizer"].param_groups
                meter.begin(kwargs["model"], [p for group in groups for p in group["params"]])
                self._open = True

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            calls = list(self._seen.calls)
            self._seen.clear()
            if not self._open:
                return
            self._open = False
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 + state.global_step)
            options: Any = {"method": method, "class_dim": class_dim, "generator": generator}
            found = meter.end(step_spreads(kwargs["model"], calls, max_samples, **options))
            self.history.append((state.global_step, found))
            self._fresh.append(found)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not self._fresh or logs is None:
                return
            means = {n: [getattr(f, n) for f in self._fresh] for n in ("r", "scale", "shortfall")}
            own = {f"radius/{n}": sum(v) / len(v) for n, v in means.items()} | {"radius/r_max": max(means["r"])}
            self._fresh = []
            # The trainer has copied the log into its history before callbacks are asked.
            for log in (logs, *state.log_history[-1:]):
                log.update(own)

    return RadiusCallback()
