"""Theory beside training: Lyapunov value, stationarity and feasibility, in one's own loop or in a Trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from entrokit.extras import missing

from .convex import ConvexK
from .lyapunov import feasibility, kkt_gap, lyapunov_coefficients, lyapunov_excess
from .optimizer import LionK


@dataclass(frozen=True)
class LionKRecord:
    """Where a run of `LionK` stands before a step.

    Attributes:
        step: as counted by the monitor, from 0, or by the Trainer, from 1.
        distance: from the feasible set, that of the farthest parameter (`feasibility`); 0 inside.
        kkt_gap: 0 exactly at stationary points; infinite outside of the feasible set, by more than rounding leaves.
        excess: H − f of `lionk_lyapunov`; infinite in the same places. NaN at lr 0, where there is no step.
        loss: f, where it was told.
    """

    step: int
    distance: float
    kkt_gap: float
    excess: float
    loss: float | None = None

    @property
    def lyapunov(self) -> float | None:
        """H = f + excess, which falls on average although the loss may not; None without a loss."""
        return None if self.loss is None else self.loss + self.excess


class LionKMonitor:
    """Records of a `LionK`. Call `on_step` after ``backward`` and before ``optimizer.step``.

    Param groups add up, each with its own K, ε and λ. Parameters without a gradient do not move and do not count.
    Gradients must not be scaled (unscale them first, under AMP); with minibatches H falls on average only. Costs a few
    passes over the parameters, and for nuclear norms two decompositions of each matrix: see ``every``.

    Steps come to the bound from outside and are rounded away before they reach it, by about eps/(ελ), relative to it:
    2e-5 in float32 at ελ = 0.01. No farther than that, ``kkt_gap`` and ``excess`` are those of the feasible point
    beside the weights, and finite, while ``distance`` says how far these are. Beyond twice the bound they are infinite.

    Args:
        optimizer: it alone. every: calls from one record to the next.

    Attributes:
        history: the records so far.
    """

    def __init__(self, optimizer: LionK, every: int = 1) -> None:
        if not isinstance(optimizer, LionK):
            raise ValueError(f"LionKMonitor: watches a LionK, got {type(optimizer).__qualname__}")
        if every < 1:
            raise ValueError(f"LionKMonitor: every must be at least 1, got {every}")
        self.optimizer, self.every = optimizer, every
        self.history: list[LionKRecord] = []
        self._calls = 0

    def on_step(self, loss: float | Tensor | None = None) -> LionKRecord | None:
        """The record of this step, if one is due. ``loss``: f at the parameters as they stand; with ``maximize``, minus
        what is maximised.

        Raises:
            ValueError: no parameter has a gradient, weight decay 0 with a K that is not least at 0, or explicit steps
                with ελ ≥ 1 (`lyapunov_coefficients`).
        """
        step, self._calls = self._calls, self._calls + 1
        return self.record(step, loss) if step % self.every == 0 else None

    def record(self, step: int, loss: float | Tensor | None = None) -> LionKRecord:
        """Measure now, whatever ``every`` says."""
        distances, gap, excess = [], 0.0, 0.0
        for group in self.optimizer.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                K, decay = self.optimizer.convex(group), float(group["weight_decay"])
                distances.append(feasibility(params, K, decay))
                slopes = [_slope(p, group["maximize"]) for p in params]
                gap += kkt_gap(params, slopes, K, decay, lr=float(group["lr"]))
                excess += self._excess(params, K, group)
        if not distances:
            raise ValueError("LionKMonitor: no parameter has a gradient; call it between backward and optimizer.step")
        loss = loss.detach() if isinstance(loss, Tensor) else loss
        # The largest, in which NaN would depend on its place.
        farthest = math.nan if any(map(math.isnan, distances)) else max(distances)
        record = LionKRecord(step, farthest, gap, excess, None if loss is None else float(loss))
        self.history.append(record)
        return record

    def _excess(self, params: list[Tensor], K: ConvexK, group: dict[str, Any]) -> float:
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        if lr == 0.0:
            return math.nan
        beta1, beta2 = map(float, group["betas"])
        c = lyapunov_coefficients(lr, (beta1, beta2), decay, scheme=group["scheme"]).c
        return lyapunov_excess(params, [self.optimizer.momentum(p) for p in params], K, c, lr, decay)


def lionk_callback(every: int | None = None) -> Any:
    """A ``TrainerCallback`` that keeps records of the Trainer's `LionK`, measured just before its steps.

    They are in ``callback.monitor.history``, and in the Trainer's log history as ``lion_k/distance``,
    ``lion_k/kkt_gap``, ``lion_k/excess`` and ``lion_k/lyapunov``. The last adds the loss that the Trainer logs, a mean
    over ``logging_steps``: exact where that is 1. Gradients are as clipped.

    Args:
        every: steps from one record to the next; ``logging_steps`` by default.

    Raises:
        ImportError: transformers is not installed.
        ValueError: every below 1, or, at the first step, an optimiser that is no `LionK`.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise missing("a callback of transformers", ["transformers"]) from error

    if every is not None and every < 1:
        raise ValueError(f"lionk_callback: every must be at least 1, got {every}")

    class LionKCallback(TrainerCallback):  # type: ignore[misc]
        monitor: LionKMonitor | None = None

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            optimizer = _unwrapped(kwargs["optimizer"])
            if self.monitor is None or self.monitor.optimizer is not optimizer:
                # A trainer that trains again may make another one.
                history = self.monitor.history if self.monitor else []
                self.monitor = LionKMonitor(optimizer)
                self.monitor.history = history
            step = state.global_step + 1
            if step % int(every or max(1, state.logging_steps or 1)) == 0:
                self.monitor.record(step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            history = self.monitor.history if self.monitor else []
            if not history or history[-1].step != state.global_step or "loss" not in (logs or {}):
                return
            history[-1] = last = replace(history[-1], loss=float(logs["loss"]))
            shown = {"distance": last.distance, "kkt_gap": last.kkt_gap, "excess": last.excess}
            state.log_history[-1].update({f"lion_k/{k}": v for k, v in {**shown, "lyapunov": last.lyapunov}.items()})

    return LionKCallback()


def _slope(param: Tensor, maximize: bool) -> Tensor:
    assert param.grad is not None
    return -param.grad if maximize else param.grad


def _unwrapped(optimizer: Any) -> Any:
    """Below what accelerate wraps around it."""
    while not isinstance(optimizer, LionK) and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer
