"""One training run from settings to a folder on disk."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from entrokit.rlvr import recipe
from entrokit.rlvr.selection import FixedPrompts, highest_variance, rare_pair
from entrokit.rlvr.tasks import Task, load_task
from entrokit.runs import Run, RunWriter

from .pocket import PocketConfig, pocket_policy
from .recorder import Recorder
from .settings import POCKET, TrainSettings

_EVALUATION_PROMPTS = 128
_MOST_TRAINING_PROMPTS = 8192
# What a run's config holds beside the settings.
_FACTS = {"base", "decodes", "versions"}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``interrupted``: by Ctrl-C, after ``steps`` optimiser steps."""

    folder: Path
    steps: int
    interrupted: bool


def train(
    settings: TrainSettings,
    on_metrics: Callable[[int, Mapping[str, float]], None] | None = None,
    task: Task | None = None,
) -> Outcome:
    """Trains, writing as it goes; held-out prompts are evaluated at the start and at the end.

    Args:
        task: instead of the one that the settings name.
        on_metrics: called with the step and the metrics after each generation batch.

    A KeyboardInterrupt ends the run early and leaves it readable, with the checkpoint of the last finished step.

    Raises:
        FileExistsError: the folder already holds a run.
        ValueError, RewardError, RunWriteError: see `EntropyGRPOTrainer` and `RunWriter`.
    """
    writer = RunWriter(settings.out, asdict(settings) | _facts(settings))
    return _train(settings, writer, None, on_metrics, task)


def resume(
    folder: str | Path,
    on_metrics: Callable[[int, Mapping[str, float]], None] | None = None,
    *,
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
    unknown = sorted(set(config) - known - _FACTS)
    if unknown:
        raise ValueError(f"{folder}: its config holds {unknown[0]!r}, which this version of entrokit does not know")
    given = {k: v for k, v in config.items() if k in known}
    settings = TrainSettings(**given | {"out": str(folder), "trust_remote_code": trust_remote_code})
    checkpoint = newest_whole(folder)
    if checkpoint is None:
        raise ValueError(f"{folder} holds no whole checkpoint to go on from; runs keep them with save_every")
    writer = RunWriter.reopen(folder, int(checkpoint.name.rpartition("-")[2]))
    return _train(settings, writer, str(checkpoint), on_metrics, None)


def _train(
    settings: TrainSettings,
    writer: RunWriter,
    checkpoint: str | None,
    on_metrics: Callable[[int, Mapping[str, float]], None] | None,
    task: Task | None,
) -> Outcome:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # It warns that `rollout_func` is experimental; which TRL this runs on is checked elsewhere.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from transformers import PrinterCallback, ProgressCallback

    from entrokit.engines.trl import EntropyAccountCallback, EntropyGRPOTrainer, EpisodeRollout

    task = task or load_task(settings.task, train_size=training_prompts(settings), seed=settings.seed)
    with _own_code_refused(settings):
        model, tokenizer = _model(settings, task)
    datasets = _chat_prompts(task, tokenizer) if tokenizer.chat_template else (task.train, task.evaluation)
    held_out = datasets[1].select(range(min(_EVALUATION_PROMPTS, len(datasets[1]))))
    recorder = Recorder(writer, tokenizer, every=settings.updates * settings.rollouts_every, on_metrics=on_metrics)
    with _own_code_refused(settings):
        trainer = EntropyGRPOTrainer(
            model,
            reward_funcs=task.reward,
            args=_config(settings, task),
            train_dataset=datasets[0],
            eval_dataset=held_out,
            processing_class=tokenizer,
            callbacks=[recorder.callback()],
            recipe=settings.recipe,
            correct=task.correct,
            prompts=_selector(settings, task, model, tokenizer),
            on_generation=recorder.on_generation,
            rollout_func=None if task.environment is None else EpisodeRollout(task.environment),
        )
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    if settings.account_every:
        trainer.add_callback(EntropyAccountCallback(trainer, every=settings.account_every))
    interrupted = False
    try:
        if checkpoint is None:
            _evaluate(trainer)
        trainer.train(resume_from_checkpoint=checkpoint)
    except KeyboardInterrupt:
        interrupted = True
    writer.checkpoint(lambda folder: _save(trainer, folder))
    if not interrupted:
        _evaluate(trainer)
    return Outcome(writer.folder, trainer.state.global_step, interrupted)


def _selector(settings: TrainSettings, task: Task, model: Any, tokenizer: Any) -> FixedPrompts | None:
    if settings.select == "all":
        return None
    if isinstance(model, str) or tokenizer.chat_template:
        raise ValueError(f"select={settings.select!r} probes the pocket policy only; other models: `success_counts`")
    from entrokit.engines.trl.prompts import success_counts

    torch.manual_seed(settings.seed)
    counts = success_counts(
        model,
        tokenizer,
        task.train.select(range(min(settings.pool, len(task.train)))),
        task.reward,
        settings.completions,
        max_completion_length=settings.max_completion_length or task.max_completion_length,
        temperature=settings.temperature,
    )
    return (rare_pair if settings.select == "rare-pair" else highest_variance)(counts, settings.completions)


def _evaluate(trainer: Any) -> None:
    """On a random state of its own: how often a run is evaluated does not change what it samples in training."""
    with torch.random.fork_rng():
        torch.manual_seed(trainer.args.seed)
        trainer.evaluate()


def _save(trainer: Any, folder: Path) -> None:
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)


def _config(settings: TrainSettings, task: Task) -> Any:
    from trl import GRPOConfig

    rows = settings.prompts * settings.completions
    return GRPOConfig(
        output_dir=settings.out,
        per_device_train_batch_size=rows // settings.updates,
        per_device_eval_batch_size=settings.completions * 16,
        steps_per_generation=settings.updates,
        num_generations=settings.completions,
        max_completion_length=settings.max_completion_length or task.max_completion_length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        max_steps=settings.steps,
        trust_remote_code=settings.trust_remote_code,
        logging_steps=settings.updates,
        logging_first_step=False,
        save_strategy="steps" if settings.save_every else "no",
        save_steps=settings.save_every or 1,
        save_total_limit=2,
        report_to=[],
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=torch.cuda.is_available(),
        disable_tqdm=True,
    )


def _model(settings: TrainSettings, task: Task) -> tuple[Any, Any]:
    if settings.model == POCKET:
        return pocket_policy(pocket_config(task))
    from transformers import AutoTokenizer

    options = {"padding_side": "left", "trust_remote_code": settings.trust_remote_code}
    return settings.model, AutoTokenizer.from_pretrained(settings.model, **options)


@contextmanager
def _own_code_refused(settings: TrainSettings) -> Iterator[None]:
    """Says in entrokit's words what `transformers` says of a model with code of its own."""
    try:
        yield
    except ValueError as error:
        if settings.trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{settings.model} brings Python code of its own, which was not run: read it, and if you trust it, say "
            "--trust-remote-code (trust_remote_code=True)"
        ) from error


def pocket_config(task: Task) -> PocketConfig:
    """The pocket policy that plays a task.

    Raises:
        ValueError: it cannot.
    """
    if task.demonstrations is None:
        raise ValueError(
            f"the pocket policy cannot play {task.name}: it knows countdown, sums, instructions and mazes; give "
            "--model a local path or a hub id"
        )
    return PocketConfig(demonstrations=task.demonstrations)


def training_prompts(settings: TrainSettings) -> int:
    """As many as the run uses, up to a limit: a batch then measures prompts that the policy was not trained on."""
    batches = -(-settings.steps // settings.updates)
    probed = 0 if settings.select == "all" else settings.pool
    return min(max(batches * settings.prompts, probed), _MOST_TRAINING_PROMPTS)


def _chat_prompts(task: Task, tokenizer: Any) -> tuple[Any, Any]:
    """A tokenizer with a chat template gets text prompts as a user's message."""

    def convert(row: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(row["prompt"], str):
            return row
        return row | {"prompt": [{"role": "user", "content": row["prompt"]}]}

    def converted(data: Any) -> Any:
        from datasets import Dataset

        return Dataset.from_list([convert(row) for row in data])

    return converted(task.train), converted(task.evaluation)


def _facts(settings: TrainSettings) -> dict[str, Any]:
    """What `diagnose`, which knows no recipes, wants to know of this one, and the versions of packages."""
    chosen = recipe(settings.recipe)
    names = ("entrokit", "torch", "transformers", "trl")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"base": str(chosen.base_part), "decodes": chosen.decodes, "versions": versions}
