"""verl's actor with a recipe: what a policy loss does not see, its worker does.

Before the updates of a generation batch, `RecipeWorker` computes the recipe's advantages and batch-wide numbers over
all ranks; they travel with the rows. It hands the current entropies to the loss, lets controllers observe every
optimiser step, and keeps their state in verl's checkpoints. With a loss of verl's own it is verl's worker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from entrokit.rlvr import Context, Recipe, Rollouts, StepMeans
from entrokit.rlvr.correctness import right_if_binary
from entrokit.rlvr.intervention import implements
from entrokit.runs.whole import replace_file

from .batch import attach, attach_prepared, attached, padded, prompt_log_probs, rollouts_of, scores, truths
from .collectives import Collectives
from .config import ACTOR, recipe_of, refuse, with_advantages
from .losses import MicroBatch, micro_batch_in_force

logger = logging.getLogger(__name__)

_UPDATES = "verl takes train_batch_size / ppo_mini_batch_size × ppo_epochs updates a rollout"


class RecipeWorker(TrainingWorker):  # type: ignore[misc]
    """verl's `TrainingWorker`, in whose place the plug-in puts it."""

    _recipe: Recipe | None = None
    _of_batch: Recipe | None = None
    _steps = 0
    _updates = 1

    def set_loss_fn(self, loss_fn: Any) -> None:
        """Takes verl's loss; where its config names a recipe, a recipe that cannot run is refused here, at start-up."""
        config = getattr(loss_fn, "keywords", {}).get("config")
        self._recipe = None if config is None else recipe_of(config)
        if config is not None and self._recipe is not None:
            if getattr(loss_fn, "func", None) is not ppo_loss:
                raise ValueError(f"{ACTOR}.policy_loss.loss_mode: recipes do not run with distillation")
            refuse(self._recipe, config)
            tokenizer = self.model_config.tokenizer
            self._recipe.bind(partial(tokenizer.encode, add_special_tokens=False))
            self._metrics_by_tokens = StepMeans()
            self._correct: str | None = config.policy_loss.get("correct", None)
            self._graded = False
            self._seed = int(config.get("data_loader_seed", 42) or 0)
            self._scalars: dict[str, Tensor] = {}
            loss_fn = partial(self._loss, loss_fn)
        super().set_loss_fn(loss_fn)

    def train_mini_batch(self, data: Any) -> Any:
        """verl's updates of one generation batch, prepared as the recipe wants it."""
        if self._recipe is None:
            return super().train_mini_batch(data)
        rewarded, advantages = self._prepare(data)
        done = super().train_mini_batch(data)
        self._recipe.remember(rewarded, advantages, self._context())
        return done

    def train_batch(self, data: Any) -> Any:
        """One optimiser step."""
        chosen = self._of_batch
        if self._recipe is None or chosen is None:
            return super().train_batch(data)
        if chosen.prepares_steps:
            rollouts, advantages, prepared = attached(data)
            known = prepared | self._scalars
            self._scalars = attach_prepared(data, chosen.prepare_step(rollouts, advantages, known, self._context()))
        output = super().train_batch(data)
        self._steps += 1
        means = self._metrics_by_tokens.take(self._context().reduce)
        if output is not None:
            _log_means(tu.get(output, "metrics"), means)
        if means and any(implements(i, "observe") for i in chosen.interventions):
            chosen.observe(means, self._context())
        return output

    def save_checkpoint(
        self, local_path: str, hdfs_path: str | None = None, global_step: int = 0, max_ckpt_to_keep: int | None = None
    ) -> Any:
        """verl's checkpoint, and beside its files the recipe's state."""
        done = super().save_checkpoint(local_path, hdfs_path, global_step, max_ckpt_to_keep)
        if self._recipe is not None:
            target = self._state_file(local_path)
            target.parent.mkdir(parents=True, exist_ok=True)
            state = {"recipe": self._recipe.state_dict(), "steps": self._steps, "graded": self._graded}
            replace_file(target, lambda partial: torch.save(state, partial))
        return done

    def load_checkpoint(self, local_path: str, hdfs_path: str | None = None, del_local_after_load: bool = False) -> Any:
        """verl's checkpoint, and the recipe's state.

        Raises:
            FileNotFoundError: the checkpoint has no state of this rank, and the recipe has some to restore.
        """
        if self._recipe is not None and local_path is not None:
            self._load_state(self._state_file(local_path))
        return super().load_checkpoint(local_path, hdfs_path, del_local_after_load)

    def _load_state(self, source: Path) -> None:
        assert self._recipe is not None
        if source.exists():
            state = torch.load(source, weights_only=True)
            self._recipe.load_state_dict(state["recipe"])
            self._steps, self._graded = state["steps"], state.get("graded", False)
        elif any(self._recipe.state_dict().values()):
            raise FileNotFoundError(
                f"{source}: this checkpoint has no state of recipe '{self._recipe}'; it was saved without the recipe "
                "or by more ranks. Start a new run from its weights instead of resuming it"
            )

    def _state_file(self, folder: str) -> Path:
        return Path(folder) / f"entrokit_rank_{self.rank}.pt"

    def _prepare(self, data: Any) -> tuple[Rollouts, Tensor]:
        assert self._recipe is not None
        if self._recipe.needs - {"logp"}:
            tu.assign_non_tensor(data, calculate_entropy=True)
        size = tu.get_non_tensor_data(data, "mini_batch_size", None) or len(data)
        updates = len(data) * self.engine.get_data_parallel_size() // size * tu.get_non_tensor_data(data, "epochs", 1)
        self._updates = max(1, updates)
        chosen, context = self._recipe, self._context()
        entropy = padded(data["entropy"]) if "entropy" in data else None
        prompt_logp = None
        if (entropy is None and "entropy" in chosen.needs) or chosen.needs_prompts:
            entropy, prompt_logp = self._behaviour(data, chosen.needs_prompts)
        rollouts = rollouts_of(
            data,
            correct=self._right(data, context),
            entropy=entropy,
            prompt_logp=prompt_logp,
            eos_token_ids=self._eos_token_ids(),
        )
        chosen = with_advantages(chosen, padded(data["advantages"]).float())
        if self._steps == 0:
            self._warn(chosen)
        rewarded = chosen.rewarded(rollouts, context)
        advantages = chosen.estimate(rewarded, context)
        attach(data, rollouts, advantages)
        self._of_batch = chosen
        self._scalars = attach_prepared(data, chosen.prepare(rollouts, advantages, context))
        return rewarded, advantages

    def _right(self, data: Any, context: Context) -> Tensor | None:
        if self._correct is not None:
            return truths(data, self._correct)
        # A score that was ever anything but 0 and 1 is graded, whatever a later batch holds.
        right = None if self._graded else right_if_binary(scores(data), context)
        self._graded = right is None
        return right

    def _behaviour(self, data: Any, prompts: bool) -> tuple[Tensor, Tensor | None]:
        """What verl's trainers drop: entropies of the policy that sampled, and log-probabilities of the prompts."""
        copy = data.copy()
        tu.assign_non_tensor(copy, compute_loss=False, calculate_entropy=True)
        output = self.infer_batch(copy)
        entropy = no_padding_2_padding(output["entropy"], data)
        return entropy, prompt_log_probs(output["log_probs"], data) if prompts else None

    def _loss(self, verls: Any, model_output: Any, data: Any, dp_group: Any = None) -> Any:
        if self._of_batch is None:
            raise ValueError("a recipe's loss outside train_mini_batch: its batch was not prepared")
        entropy = model_output.get("entropy", None)
        entropy = None if entropy is None else no_padding_2_padding(entropy, data)
        scalars = {name: value.to(data.device or value.device) for name, value in self._scalars.items()}
        with micro_batch_in_force(MicroBatch(self._of_batch, data, entropy, scalars, self._metrics_by_tokens)):
            return verls(model_output=model_output, data=data, dp_group=dp_group)

    def _warn(self, chosen: Recipe) -> None:
        for reason in chosen.cannot_act(self._updates) if self.rank == 0 else ():
            logger.warning("%s (%s)", reason, _UPDATES)

    def _eos_token_ids(self) -> list[int]:
        found = getattr(self.model_config.generation_config, "eos_token_id", None)
        found = self.model_config.tokenizer.eos_token_id if found is None else found
        return [] if found is None else list(found) if isinstance(found, (list, tuple)) else [found]

    def _context(self) -> Context:
        ranks = Collectives(
            self.engine.get_data_parallel_group(), self.engine.get_data_parallel_size(), self.device_name
        )
        return Context(
            step=self._steps,
            # verl counts generation batches, and -1 where it does not know.
            total_steps=max(0, getattr(self.optimizer_config, "total_training_steps", 0)) * self._updates,
            generator=torch.Generator().manual_seed((self._seed * 1_000_003 + self._steps) % 2**63),
            rank=self.engine.get_data_parallel_rank(),
            reduce=ranks.reduce,
            gather=ranks.gather,
        )


def _log_means(metrics: dict[str, Any], means: Mapping[str, float]) -> None:
    """Means over the trained tokens of all ranks, in the place of one number a micro-batch, which verl weighs alike."""
    for name, value in means.items():
        if f"actor/{name}" in metrics:
            metrics[f"actor/{name}"] = value
