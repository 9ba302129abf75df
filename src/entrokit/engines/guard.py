"""`EntropyGuard`: a callback of TRL's trainers, and of any `transformers.Trainer`, that warns of a bad run or stops it.

    trainer.add_callback(EntropyGuard(stop_on=("broken-numbers", "collapse"), patience=3))

It needs `transformers` (4.42 or later) alone. For loops without it there is `entrokit.diagnose.Guard`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from entrokit.diagnose.guard import Guard, Verdict
from entrokit.diagnose.thresholds import Thresholds
from entrokit.extras import missing

try:
    import torch
    from torch import Tensor
    from torch.distributed.tensor import DTensor
    from transformers import TrainerCallback
except ImportError as error:
    # Not all of the extra `trl`: a trainer of `transformers` alone is guarded as well.
    raise missing(__name__, ["torch", "transformers"]) from error

_LOG = logging.getLogger(__name__)

# In `TrainerState.stateful_callbacks`, which every checkpoint holds. Not as an `ExportableState`: a trainer that is
# resumed from a checkpoint of before the guard could then not save (KeyError in `_save_checkpoint`), and a restored
# callback would be built from arguments in the checkpoint, where the URL of a hook must not be.
STATE = "entrokit.EntropyGuard"

# TRL leaves NaN out of a metric's mean, and logs None where nothing is left (GRPOTrainer.log of 1.16). Of these two
# every batch has a number, so that None was NaN.
_NONE_IS_NAN = ("entropy", "kl")

_GO_ON, _STOP, _SAVE_AND_STOP = 0, 1, 2


class EntropyGuard(TrainerCallback):  # type: ignore[misc]
    """Judges a run by what it logs, as `entrokit diagnose` does; warns when the verdict changes, and stops the run.

    What is logged is what is judged: `logging_steps` should be small (1 for RL). The main process judges, all stop
    together. A warning goes to the Python log of this module, its record with ``entrokit_verdict`` and
    ``entrokit_step``. What goes wrong in the guard is a warning and never ends training.

    NaN: `transformers` replaces a loss that is not finite by the mean of those before it when it logs
    (``logging_nan_inf_filter``, True by default), so that the logged loss of a broken run looks well. The gradient's
    norm is logged as it is, and is what tells. Where a row has none, the weights themselves are looked at.

    Args:
        stop_on, warn_on, patience, thresholds, reward_range, notify: as of `Guard`.
        every: optimiser steps from one look to the next.
        save_before_stop: writes a checkpoint first. Weights that hold NaN are saved too, and told, unless
            ``save_total_limit`` would remove a good checkpoint for them.

    A run that is resumed goes on with the verdict that it had. From the checkpoint of a stop it is judged by what comes
    after it.

    Raises:
        ValueError: as `Guard`.
    """

    def __init__(
        self,
        stop_on: str | Iterable[str] = ("broken-numbers", "collapse"),
        warn_on: str | Iterable[str] = "any",
        *,
        patience: int = 3,
        every: int = 10,
        save_before_stop: bool = True,
        thresholds: Thresholds | None = None,
        reward_range: tuple[float, float] | None = None,
        notify: str | Sequence[str] | None = None,
    ) -> None:
        self.guard = Guard(
            stop_on=stop_on,
            warn_on=warn_on,
            patience=patience,
            every=every,
            thresholds=thresholds,
            reward_range=reward_range,
            notify=notify,
        )
        self._save_before_stop = save_before_stop
        self._decided = _GO_ON
        self._stopped_for: Verdict | None = None

    @property
    def stopped(self) -> Verdict | None:
        """What training was stopped for; None where it was not, and on all processes but the main one."""
        return self._stopped_for

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Takes up the rows and the verdict of a run that is resumed."""
        self._decided, self._stopped_for = _GO_ON, None
        self.guard.run = str(args.run_name or "training")
        self.guard.config = {k: v for k, v in args.to_dict().items() if isinstance(v, (int, float, str))}
        self.guard.engine = "trl" if type(args).__module__.startswith("trl.") else None
        resumed = state.global_step > 0
        self.guard.restart(
            state.stateful_callbacks.get(STATE, {}).get("attributes") if resumed else None,
            [(row["step"], _numbers(row)) for row in state.log_history if "step" in row] if resumed else [],
        )
        self._keep_state(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **others: Any) -> None:
        """Judges what has been logged, on the main process."""
        if not state.is_world_process_zero:
            return
        try:
            row = _numbers(logs)
            if "sampled/entropy" in row:
                self.guard.engine = "entrokit-trl"
            if "loss" in row and "grad_norm" not in row and not _finite(others.get("model")):
                row["loss"] = math.nan
            verdict = self.guard.add(state.global_step, row)
        # A run of weeks must not end because its guard did.
        except Exception as error:
            _LOG.warning("entrokit: the guard could not judge step %s: %r", state.global_step, error)
            return
        self._keep_state(state)
        if verdict is not None:
            self._tell(verdict, args, others.get("model"))
        if not _several():
            self._act(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Where there are several processes, all learn here what the main one decided.

        Not in `on_log`: trainers of other people's may call it on one process alone.
        """
        if _several():
            decided = torch.tensor(self._decided, device=args.device)
            torch.distributed.broadcast(decided, src=0)
            self._decided = int(decided)
            self._act(control)

    def _tell(self, verdict: Verdict, args: Any, model: Any) -> None:
        said = f"entrokit: {verdict}"
        if verdict.stop:
            self._stopped_for, self._decided = verdict, _STOP
            said = f"entrokit: training is stopped at {verdict}"
            if self._save_before_stop:
                finite = _finite(model)
                if finite or not args.save_total_limit:
                    self._decided = _SAVE_AND_STOP
                if not finite:
                    kept = "the checkpoint holds them" if self._decided == _SAVE_AND_STOP else "they are not saved"
                    said += f". The weights are not finite, and {kept}: go back to an earlier checkpoint"
        _LOG.warning(said, extra={"entrokit_verdict": verdict.name, "entrokit_step": verdict.step})

    def _act(self, control: Any) -> None:
        if self._decided != _GO_ON:
            control.should_training_stop = True
        if self._decided == _SAVE_AND_STOP:
            control.should_save = True
        self._decided = _GO_ON

    def _keep_state(self, state: Any) -> None:
        state.stateful_callbacks[STATE] = {"args": {}, "attributes": self.guard.state_dict()}


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None and name in _NONE_IS_NAN else value for name, value in row.items()}


def _finite(model: Any) -> bool:
    """Whether all weights that this process holds, and that are trained, are finite; True where there is no model."""
    if model is None:
        return True
    return all(bool(_local(p).isfinite().all()) for p in model.parameters() if p.requires_grad)


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def _several() -> bool:
    there = torch.distributed
    return there.is_available() and there.is_initialized() and there.get_world_size() > 1
