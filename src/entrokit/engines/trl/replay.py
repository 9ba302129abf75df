"""The replay stage under TRL: after the updates on a generation batch, updates on what the recipe remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from entrokit.rlvr import Context, PolicyStats, Rollouts, Totals
from entrokit.rlvr.replay import Replay

from .forward import PolicyForward

if TYPE_CHECKING:
    from .trainer import EntropyGRPOTrainer


class Replayer(TrainerCallback):  # type: ignore[misc]
    """Holds generation batches until their last update; then replays what the recipe asks for, and lets it remember.

    A replay takes optimiser steps of its own, of as many rows as the trainer's, which `global_step`, schedules and
    loggers do not count; their number and loss are logged as ``replay/...``.
    """

    def __init__(self, trainer: EntropyGRPOTrainer) -> None:
        self._trainer = trainer
        # Columns of rollouts and advantages of the batches that are being trained on.
        self.held: list[dict[str, Tensor]] = []

    def hold(self, rollouts: Rollouts, advantages: Tensor, output: Mapping[str, Any]) -> None:
        """Keeps a generation batch (this process's rows). ``output``: TRL's, which has the prompts."""
        recipe = self._trainer.recipe
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
        model, trainer = self._trainer.accelerator.unwrap_model(self._trainer.model), self._trainer
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
        for intervention in trainer.recipe.interventions:
            if intervention.replays:
                intervention.check_fits(model.get_input_embeddings().num_embeddings, context)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self._trainer
        if not self.held or trainer._step % (args.steps_per_generation * trainer.num_iterations):
            return
        context = trainer._context()
        for name, replay in trainer.recipe.replay(context):
            self._train(name, replay, context)
        for columns in self.held:
            advantages = columns.pop("advantages")
            trainer.recipe.remember(Rollouts.from_columns(columns), advantages, context)
        self.held = []
        for name, value in trainer.recipe.memory().items():
            trainer._metrics["train"][f"{name}/memory_bytes"].append(float(value))

    def _train(self, name: str, replay: Replay, context: Context) -> None:
        trainer, args = self._trainer, self._trainer.args
        recipe, device = trainer.recipe.of_replay(replay), trainer.accelerator.device
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
            tokens = trainer._reduce(own.trained.sum()) / trainer.accelerator.num_processes
            totals = Totals(tokens=tokens, rows=len(own), length=trainer.max_completion_length)
            loss = torch.zeros((), device=device)
            for first in range(0, len(own), micro):
                part = slice(first, first + micro)
                some = _rows(own, part)
                current = _statistics(trainer._forward, trainer.model_wrapped, some, recipe.needs)
                result = recipe.loss(current, some, advantages[step][part], _slice(ready, part, len(own)), totals)
                trainer.accelerator.backward(replay.coef * result.loss)
                loss += result.loss.detach()
            if args.max_grad_norm:
                trainer.accelerator.clip_grad_norm_(trainer.model_wrapped.parameters(), args.max_grad_norm)
            trainer.optimizer.step()
            trainer.optimizer.zero_grad()
            losses.append(loss)
        mean = trainer._reduce(torch.stack(losses).mean()) / trainer.accelerator.num_processes
        logged = {"rows": trainer._reduce(torch.tensor(len(rollouts))), "steps": len(losses), "loss": mean}
        for key, value in logged.items():
            trainer._metrics["train"][f"replay/{name}/{key}"].append(float(value))


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
