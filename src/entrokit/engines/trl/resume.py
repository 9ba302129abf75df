"""`ResumableGRPOTrainer`: TRL's trainer, resumed as the same run from a checkpoint that is known to be whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from transformers.utils import logging
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from .checkpoints import (
    UNFINISHED,
    EpochSampler,
    load_rank,
    newest_whole,
    open_again,
    save_rank,
    saved_ranks,
    to_device,
    to_plain_values,
    what_is_damaged,
    write_manifest,
)

_ONE_FOLDER = "on several machines output_dir must be one folder that all of them see"


class ResumableGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer` that remembers all of itself: its place in a generation batch, the batch, what it has yet to log.

    A subclass with state of its own adds it in `_resumable` and takes it back in `_restore`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resume = _ResumeLoss(self)
        self.add_callback(self._resume)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As `GRPOTrainer.train`; ``True`` resumes from the newest checkpoint that is whole.

        Raises:
            ValueError: no checkpoint to resume from, or the one that is named is damaged.
        """
        if resume_from_checkpoint is True:
            found = newest_whole(self.args.output_dir)
            if found is None:
                several = f"; {_ONE_FOLDER}" if self.accelerator.num_processes > 1 else ""
                raise ValueError(
                    f"{self.args.output_dir} holds no checkpoint that is known to be whole; to go on from one of "
                    f"another trainer, name its folder{several}"
                )
            resume_from_checkpoint = str(found)
        elif isinstance(resume_from_checkpoint, str):
            reason = what_is_damaged(resume_from_checkpoint)
            if reason == UNFINISHED:
                logging.get_logger(__name__).warning(
                    f"{resume_from_checkpoint} has no manifest: another trainer wrote it, or it was cut off"
                )
            elif reason is not None:
                raise ValueError(f"{resume_from_checkpoint} cannot be resumed from: {reason}")
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        return EpochSampler.like(sampler) if isinstance(sampler, RepeatSampler) else sampler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run = self._get_output_dir(trial=trial)
        folder = os.path.join(run, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        if self.args.should_save:
            open_again(folder)
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        os.makedirs(folder, exist_ok=True)
        save_rank(folder, self.accelerator.process_index, to_plain_values(self._resumable()))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            absent = set(range(self.accelerator.num_processes)) - saved_ranks(folder)
            if absent:
                logging.get_logger(__name__).warning(
                    f"{folder} lacks the state of processes {sorted(absent)}, and cannot be resumed from: {_ONE_FOLDER}"
                )
            # Only now is it worth more than the ones before it, which may go.
            write_manifest(folder)
            rotate_checkpoints(run, save_total_limit=limit, best_model_checkpoint=self.state.best_model_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        saved = set() if checkpoint is None else saved_ranks(checkpoint)
        if checkpoint is None or not saved:
            return
        own = self.accelerator.process_index
        state = load_rank(checkpoint, own if own in saved else min(saved)) or {}
        # Checkpoints of before this was kept do not say.
        if state.get("processes", self.accelerator.num_processes) != self.accelerator.num_processes:
            raise ValueError(
                f"{checkpoint} was saved by {state['processes']} processes, and this run has "
                f"{self.accelerator.num_processes}: it cannot go on as the same run. Resume with as many, or start a "
                "new run from its weights (model=<the checkpoint's folder>)"
            )
        if own not in saved:
            # Without it this process would begin a generation batch that the others are in: all would wait for ever.
            raise ValueError(f"{checkpoint} lacks the state of process {own}: {_ONE_FOLDER}")
        self._restore(state)

    def _resumable(self) -> dict[str, Any]:
        """What TRL and `transformers` would forget of this rank between two optimiser steps."""
        return {
            "rank": self.accelerator.process_index,
            "processes": self.accelerator.num_processes,
            "step": self._step,
            "batch": self._buffered_inputs,
            "metrics": self._metrics,
            "loss": self._tr_loss,
            "last_logged": self._globalstep_last_logged,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        device = self.accelerator.device
        self._step, self._buffered_inputs = state["step"], to_device(state["batch"], device)
        for mode, metrics in state["metrics"].items():
            self._metrics[mode].update(metrics)
        self._resume.state = (to_device(state["loss"], device), state["last_logged"])


class _ResumeLoss(TrainerCallback):  # type: ignore[misc]
    """`transformers` starts the sum of losses since the last log anew on every `train`: this puts it back."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.state: tuple[Tensor, int] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.state is not None:
            self._trainer._tr_loss, self._trainer._globalstep_last_logged = self.state
            self.state = None
