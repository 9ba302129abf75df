"""The replay stage under TRL: after the updates on a generation batch, updates on what the recipe remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback
from trl import GRPOTrainer

from entrokit.rlvr import Context, PolicyStats, Recipe, Rollouts, Totals
from entrokit.rlvr.intervention import Replay

from .forward import PolicyForward


@dataclass(frozen=True)
class Training:
    """What a replay needs of the trainer beside what TRL's own gives.

    Attributes:
        recipe: that is trained with. forward: gives the policy's statistics. context: of this moment.
        reduce: sums a tensor over processes. log: a number under a name.
        batch_done: whether the updates on the generation batches that are held have been made.
    """

    recipe: Recipe
    forward: PolicyForward
    context: Callable[[], Context]
    reduce: Callable[[Tensor], Tensor]
    log: Callable[[str, float], None]
    batch_done: Callable[[], bool]


class Replayer(TrainerCallback):  # type: ignore[misc]
    """Holds generation batches until their last update; then replays what the recipe asks for, and lets it remember.

    A replay takes optimiser steps of its own, of as many rows as the trainer's, which `global_step`, schedules and
    loggers do not count; their number and loss are logged as ``replay/...``.
    """

    def __init__(self, trainer: GRPOTrainer, training: Training) -> None:
        self._trainer, self._training = trainer, training
        # Columns of rollouts and advantages of the batches that are being trained on.
        self.held: list[dict[str, Tensor]] = []

    def hold(self, rollouts: Rollouts, advantages: Tensor, output: Mapping[str, Any]) -> None:
        """Keeps a generation batch (this process's rows). ``output``: TRL's, which has the prompts."""
        recipe = self._training.recipe
        if not recipe.remembers:
            return
        columns = rollouts.columns()
        if recipe.replays:
            columns["prompt"] = torch.where(output["prompt_mask"].bool(), output["prompt_ids"], -1)
        self.held.append(columns | {"advantages": advantages})

    def restore(self, held: Sequence[Mapping[str, Tensor]]) -> None:
        """Takes back what a checkpoint held.

        Raises:
            ValueError: the recipe remembers completions that the model cannot read.
        """
        self.held = [dict(columns) for columns in held]
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
        for intervention in self._training.recipe.interventions:
            if intervention.replays:
                intervention.check_fits(model.get_input_embeddings().num_embeddings, context)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.held or not self._training.batch_done():
            return
        recipe, context = self._training.recipe, self._training.context()
        for name, replay in recipe.replay(context):
            self._train(name, replay, context)
        for columns in self.held:
            advantages = columns.pop("advantages")
            recipe.remember(Rollouts.from_columns(columns), advantages, context)
        self.held = []
        for name, value in recipe.memory().items():
            self._training.log(f"{name}/memory_bytes", float(value))

    def _train(self, name: str, replay: Replay, context: Context) -> None:
        trainer, args, training = self._trainer, self._trainer.args, self._training
        recipe, device = training.recipe.of_replay(replay), trainer.accelerator.device
        rollouts = Rollouts.from_columns({k: v.to(device) for k, v in replay.rollouts.columns().items()})
        advantages = replay.advantages.to(device)
        prepared = recipe.prepare(rollouts, advantages, context)
        micro = args.per_device_train_batch_size
        size = micro * args.gradient_accumulation_steps
        losses = []
        for start in range(0, len(rollouts), size):
            step = slice(start, start + size)
            own, ready = _rows(rollouts, step), _slice(prepared, step, len(rollouts))
            ready = recipe.prepare_step(own, advantages[step], ready, context)
            tokens = training.reduce(own.trained.sum()) / trainer.accelerator.num_processes
            totals = Totals(tokens=tokens, rows=len(own), length=trainer.max_completion_length)
            loss = torch.zeros((), device=device)
            for first in range(0, len(own), micro):
                part = slice(first, first + micro)
                some = _rows(own, part)
                current = _statistics(training.forward, trainer.model_wrapped, some, recipe.needs)
                result = recipe.loss(current, some, advantages[step][part], _slice(ready, part, len(own)), totals)
                trainer.accelerator.backward(replay.coef * result.loss)
                loss += result.loss.detach()
            if args.max_grad_norm:
                trainer.accelerator.clip_grad_norm_(trainer.model_wrapped.parameters(), args.max_grad_norm)
            trainer.optimizer.step()
            trainer.optimizer.zero_grad()
            losses.append(loss)
        mean = training.reduce(torch.stack(losses).mean()) / trainer.accelerator.num_processes
        logged = {"rows": training.reduce(torch.tensor(len(rollouts))), "steps": len(losses), "loss": mean}
        for key, value in logged.items():
            training.log(f"replay/{name}/{key}", float(value))


def _statistics(forward: PolicyForward, model: Any, rollouts: Rollouts, need: frozenset[str]) -> PolicyStats:
    assert rollouts.prompt is not None
    real = rollouts.prompt >= 0
    ids = torch.cat([torch.where(real, rollouts.prompt, 0), rollouts.tokens], 1)
    attention = torch.cat([real, rollouts.real], 1).long()
    return forward.stats(model, ids, attention, rollouts.tokens.shape[1], need)


def _rows(rollouts: Rollouts, rows: slice) -> Rollouts:
    return Rollouts.from_columns({name: value[rows] for name, value in rollouts.columns().items()})


def _slice(prepared: Mapping[str, Tensor], rows: slice, count: int) -> dict[str, Tensor]:
    return {k: v[rows] if v.dim() and len(v) == count else v for k, v in prepared.items()}
