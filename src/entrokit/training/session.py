"""One training run from settings to a folder on disk."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from entrokit.rlvr import recipe
from entrokit.rlvr.tasks import Task, load_task
from entrokit.runs import Run, RunWriter

from .arguments import adapters, grpo_config, radius_options, selector
from .models import explained, load
from .prompts import datasets_for
from .recorder import Recorder
from .settings import FACTS, TrainSettings

if TYPE_CHECKING:
    from entrokit.engines.trl import GenerationBatch

_MOST_TRAINING_PROMPTS = 8192
# Prompts that a task holds out, of which a run asks the first ones.
_HELD_OUT = 256

OnMetrics = Callable[[int, Mapping[str, float]], None]
# Called with how many held-out completions there are so far, and in all.
OnEvaluation = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``interrupted``: by Ctrl-C, after ``steps`` optimiser steps."""

    folder: Path
    steps: int
    interrupted: bool


def train(
    settings: TrainSettings,
    on_metrics: OnMetrics | None = None,
    task: Task | None = None,
    on_evaluation: OnEvaluation | None = None,
) -> Outcome:
    """Trains, writing as it goes; held-out prompts are evaluated at the start and at the end.

    Args:
        task: instead of the one that the settings name.
        on_metrics: called with the step and the metrics after each generation batch.
        on_evaluation: called with the held-out completions so far and in all, from the first moment on.

    A KeyboardInterrupt ends the run early and leaves it readable, with the checkpoint of the last finished step. What
    is refused before training begins leaves no folder behind.

    Raises:
        FileExistsError: the folder already holds a run.
        ModelError: see `models.load` and `prompts.datasets_for`.
        ValueError, RewardError, RunWriteError: see `EntropyGRPOTrainer` and `RunWriter`.
    """
    RunWriter.refuse_taken(settings.out)
    with _nothing_left_behind(Path(settings.out)):
        # Settings that no recipe fits are found now; the folder is made when everything stands.
        config = asdict(settings.resolved()) | _facts(settings)
        run = _Training(settings, task, on_metrics, on_evaluation)
    return run.carried_out(RunWriter(settings.out, config), None)


def resume(
    folder: str | Path,
    on_metrics: OnMetrics | None = None,
    *,
    on_evaluation: OnEvaluation | None = None,
    trust_remote_code: bool = False,
) -> Outcome:
    """Goes on with a run that was stopped, from its newest checkpoint that is whole; it stays the same run.

    Args:
        trust_remote_code: as in `TrainSettings`. What the run's own config says of it is not heeded: a folder from
            elsewhere must not give itself leave.

    Raises:
        RunReadError: no run there.
        ValueError: no whole checkpoint (the run needs ``save_every``), or settings that this version does not know.
    """
    from entrokit.engines.trl.checkpoints import newest_whole

    config = Run.load(folder).config
    known = {f.name for f in fields(TrainSettings)}
    unknown = sorted(set(config) - known - FACTS)
    if unknown:
        raise ValueError(f"{folder}: its config holds {unknown[0]!r}, which this version of entrokit does not know")
    given = {k: v for k, v in config.items() if k in known}
    settings = TrainSettings(**given | {"out": str(folder), "trust_remote_code": trust_remote_code})
    checkpoint = newest_whole(folder)
    if checkpoint is None:
        raise ValueError(f"{folder} holds no whole checkpoint to go on from; runs keep them with save_every")
    run = _Training(settings, None, on_metrics, on_evaluation)
    return run.carried_out(RunWriter.reopen(folder, int(checkpoint.name.rpartition("-")[2])), str(checkpoint))


class _Training:
    """A trainer that stands, and what listens to it once there is a run to write to."""

    def __init__(
        self,
        settings: TrainSettings,
        task: Task | None,
        on_metrics: OnMetrics | None,
        on_evaluation: OnEvaluation | None,
    ) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        # It warns that `rollout_func` is experimental; which TRL this runs on is checked elsewhere.
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from transformers import PrinterCallback, ProgressCallback

        from entrokit.engines.trl import EntropyAccountCallback, EntropyGRPOTrainer, EpisodeRollout

        task = task or load_task(
            settings.task,
            train_size=training_prompts(settings),
            eval_size=max(_HELD_OUT, settings.evaluation_prompts),
            seed=settings.seed,
        )
        self._settings, self._on_metrics, self._on_evaluation = settings, on_metrics, on_evaluation
        with explained(settings):
            model, tokenizer = load(settings, task)
            train_dataset, held_out = datasets_for(settings, task, model, tokenizer)
            self.trainer = EntropyGRPOTrainer(
                model,
                reward_funcs=task.reward,
                args=grpo_config(settings, task),
                train_dataset=train_dataset,
                eval_dataset=held_out if len(held_out) else None,
                processing_class=tokenizer,
                recipe=settings.recipe,
                correct=task.correct,
                prompts=selector(settings, task, model, tokenizer),
                on_generation=self._on_generation,
                peft_config=adapters(settings),
                radius=radius_options(settings),
                rollout_func=None if task.environment is None else EpisodeRollout(task.environment),
            )
        self._held_out, self._answered = len(held_out) * settings.completions, 0
        for printer in (PrinterCallback, ProgressCallback):
            self.trainer.remove_callback(printer)
        if settings.account_every:
            rows = settings.account_rows or None
            self.trainer.add_callback(EntropyAccountCallback(self.trainer, every=settings.account_every, rows=rows))
        self._recorder: Recorder | None = None

    def carried_out(self, writer: RunWriter, checkpoint: str | None) -> Outcome:
        """Trains from the start, or from a checkpoint on."""
        settings, trainer = self._settings, self.trainer
        every = settings.updates * settings.rollouts_every
        self._recorder = Recorder(writer, trainer.processing_class, every, self._on_metrics)
        trainer.add_callback(self._recorder.callback())
        interrupted = False
        try:
            if checkpoint is None:
                self._evaluate()
            trainer.train(resume_from_checkpoint=checkpoint)
        except KeyboardInterrupt:
            interrupted = True
        writer.checkpoint(lambda folder: _save(trainer, folder))
        if not interrupted:
            try:
                self._evaluate()
            except KeyboardInterrupt:
                interrupted = True
        return Outcome(writer.folder, trainer.state.global_step, interrupted)

    def _evaluate(self) -> None:
        """On a random state of its own: how often a run is evaluated does not change what it samples in training."""
        if not self._held_out:
            return
        self._answered = 0
        self._tell()
        with torch.random.fork_rng():
            torch.manual_seed(self.trainer.args.seed)
            self.trainer.evaluate()

    def _on_generation(self, batch: GenerationBatch) -> None:
        if self._recorder is not None:
            self._recorder.on_generation(batch)
        if batch.evaluation:
            self._answered += len(batch.rollouts)
            self._tell()

    def _tell(self) -> None:
        if self._on_evaluation is not None:
            self._on_evaluation(min(self._answered, self._held_out), self._held_out)


@contextmanager
def _nothing_left_behind(folder: Path) -> Iterator[None]:
    """A trainer makes its folder when it is built: taken back where that fails, unless it was there."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise


def _save(trainer: Any, folder: Path) -> None:
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)


def training_prompts(settings: TrainSettings) -> int:
    """As many as the run uses, up to a limit: a batch then measures prompts that the policy was not trained on."""
    batches = -(-settings.steps // settings.updates)
    probed = 0 if settings.select == "all" else settings.pool
    return min(max(batches * settings.prompts, probed), _MOST_TRAINING_PROMPTS)


def _facts(settings: TrainSettings) -> dict[str, Any]:
    """What `diagnose`, which knows no recipes, wants to know of this one, and the versions of packages."""
    chosen = recipe(settings.recipe)
    names = ("entrokit", "torch", "transformers", "trl")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"base": str(chosen.base_part), "decodes": chosen.decodes, "versions": versions}
