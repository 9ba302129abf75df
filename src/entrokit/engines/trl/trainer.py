"""TRL: `EntropyGRPOTrainer` is `GRPOTrainer` with one more argument, ``recipe``.

TRL keeps doing what it does (generation, vLLM, rewards, accumulation, checkpoints, logging); six seams are overridden:

- per-token statistics: through the LM head without logits, all that the recipe needs from one forward;
- rewards: the gathered table is kept for the recipe's advantages;
- sampling: logits processors of the recipe, in training only;
- generation: behaviour statistics, advantages and prepared columns join the batch, shuffled and split with its rows;
- the loss: the recipe's, normalised as TRL normalises;
- the optimiser step: controllers observe it, in training only.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from entrokit.rlvr import Context, PolicyStats, Recipe, RecipeLoss, Rollouts, StepMeans, Totals
from entrokit.rlvr.selection import FixedPrompts, PromptSelector

from .batch import Distinct, GenerationBatch, rollouts_of
from .columns import COLUMN, PREPARED, named, of_name, prepare_steps
from .correctness import Correct, Correctness
from .episodes import TOOL_CALLS
from .forward import policy_forward
from .generating import generation_explained
from .head import adapters_on_head_allowed, attach_head, bare
from .logged import generation_numbers
from .options import refuse_what_cannot_be_carried, resolve
from .processes import gathered, reduced
from .prompts import PROMPT_INDEX, SelectingSampler, refuse_long
from .radius import RadiusCallback, RadiusOptions
from .reference import frozen_copy_for_reference
from .replay import Replayer, Training
from .resume import ResumableGRPOTrainer
from .rewards import explained
from .sampling import sampling_with

_UPDATES = "TRL takes steps_per_generation × num_iterations / gradient_accumulation_steps updates a rollout"


class EntropyGRPOTrainer(ResumableGRPOTrainer):
    """`GRPOTrainer` whose advantages and loss come from a recipe.

    Args:
        recipe: a recipe or its string, e.g. ``"grpo+steer(min_weight=0.7)"``.
        correct: what says which completions are right, for pass@k and for recipes that ask: the name of a reward
            function (1 or more is right), a column, or a function called as reward functions are that gives a truth a
            completion. By default the only reward function, as long as it gives 0 and 1 alone; otherwise nothing does.
        prompts: chooses the prompts of every generation batch, instead of an order drawn beforehand.
        on_generation: called with a `GenerationBatch` after each generation batch, on every process.
        radius: measures steps in radii of their Taylor series, and clips them if it says so.

    All other arguments are `GRPOTrainer`'s; `docs/trl-options.md` says of every `GRPOConfig` option whether it is
    honoured, mapped or refused.

    Raises:
        ValueError: an option that conflicts with the recipe; a model whose logits and statistics disagree; a prompt
            that leaves no room for a completion; NaN or infinite logits.
        RewardError: a reward function that raises or returns no list.
    """

    def __init__(
        self,
        *args: Any,
        recipe: str | Recipe = "grpo",
        correct: Correct | None = None,
        prompts: PromptSelector | None = None,
        on_generation: Callable[[GenerationBatch], None] | None = None,
        radius: RadiusOptions | None = None,
        **kwargs: Any,
    ) -> None:
        bound = inspect.signature(GRPOTrainer.__init__).bind(self, *args, **kwargs).arguments
        bound.pop("self")
        bound["args"], self.recipe = resolve(bound.get("args") or GRPOConfig("entrokit-grpo"), recipe)
        refuse_what_cannot_be_carried(self.recipe)
        functions = bound.get("reward_funcs")
        if functions is not None:
            several = functions if isinstance(functions, list) else [functions]
            bound["reward_funcs"] = [explained(f) for f in several]
        reference, beta = frozen_copy_for_reference(bound)
        self._on_generation, self._prompts = on_generation, prompts
        if prompts is not None:
            data: Any = bound.get("train_dataset")
            if not isinstance(data, Dataset):
                raise ValueError("prompts: choosing prompts needs a train_dataset with rows (datasets.Dataset)")
            bound["train_dataset"] = data.add_column(PROMPT_INDEX, list(range(len(data))))
        self._reward_table: Tensor | None = None
        self._right: Tensor | None = None
        self._kept_stats: list[PolicyStats] | None = None
        self._seen = {"train": StepMeans(), "eval": StepMeans()}
        # Shown the statistics that the loss is made of, with gradient, at every loss of training.
        self.on_statistics: Callable[[PolicyStats], None] | None = None
        with adapters_on_head_allowed():
            super().__init__(**bound)
        self._reduce = partial(reduced, self.accelerator)
        self._correctness = Correctness(correct, self.reward_func_names, _columns(bound))
        tokenizer: Any = getattr(self.processing_class, "tokenizer", self.processing_class)
        self.recipe.bind(partial(tokenizer.encode, add_special_tokens=False))
        if reference is not None:
            self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)
            self.beta = self.args.beta = beta
        updates = self.args.steps_per_generation * self.num_iterations / self.args.gradient_accumulation_steps
        for reason in self.recipe.cannot_act(max(1, int(updates))):
            self._say(f"{reason} ({_UPDATES})")
        if self.ref_model is not None:
            attach_head(self.ref_model)
        self._forward = policy_forward(self.model, temperature=self.temperature, autocast=self.accelerator.autocast)
        self._replayer = Replayer(
            self,
            Training(
                self.recipe,
                self._forward,
                self._context,
                self._reduce,
                log=lambda name, value: self._metrics["train"][name].append(value),
                batch_done=lambda: self._step % (self.args.steps_per_generation * self.num_iterations) == 0,
            ),
        )
        self.add_callback(self._replayer)
        self.radius = None if radius is None else RadiusCallback(self, radius, self._forward)
        if self.radius is not None:
            self.add_callback(self.radius)
        if self._forward.head_unknown is not None:
            self._say(
                f"{type(bare(self.model)).__name__}: {self._forward.head_unknown}; its whole logits are held in memory "
                "instead, [rows, completion length, vocabulary] at a time"
            )

    def _say(self, message: str) -> None:
        from transformers.utils import logging

        if self.accelerator.is_main_process:
            logging.get_logger(__name__).warning(message)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **multimodal: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        present = [name for name, value in multimodal.items() if value is not None]
        if present or compute_aux_loss:
            what = f"multimodal inputs ({present[0]})" if present else "the load-balancing loss of experts"
            raise NotImplementedError(f"EntropyGRPOTrainer does not carry {what} yet; use GRPOTrainer for this model")
        keep = self._kept_stats is not None and not self._kept_stats
        need = self._needs if keep or compute_entropy else frozenset({"logp"})
        stats = self._forward.stats(model, input_ids, attention_mask, logits_to_keep, need, batch_size)
        if keep and self._kept_stats is not None:
            self._kept_stats.append(stats)
        return stats.logp, stats.entropy, None

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        if self._prompts is None:
            return super()._get_train_sampler(dataset)
        prompts = self.args.generation_batch_size // self.num_generations
        return SelectingSampler(
            self._prompts,
            batches=max(1, len(self.train_dataset) // prompts),
            prompts=prompts,
            completions=self.num_generations,
            repeats=self.num_iterations * self.args.steps_per_generation,
        )

    @property
    def _needs(self) -> frozenset[str]:
        return self.recipe.needs | {"entropy"}

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        result = super()._tokenize_prompts(prompts)
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        refuse_long(prompts, result[0], self.max_completion_length, limit)
        return result

    def _generate(self, prompts: list[Any]) -> Any:
        processors = self.recipe.decode() if self.model.training else []
        with (
            generation_explained(self.state.global_step, self.args),
            sampling_with(self.accelerator.unwrap_model(self.model_wrapped), processors),
        ):
            return super()._generate(prompts)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        table: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._reward_table = table
        names = [name for name in inputs[0] if name not in ("prompt", "completion", "completion_ids")]
        call = {name: [row[name] for row in inputs] for name in names}
        call |= {"prompts": prompts, "completions": completions, "completion_ids": completion_ids_list}
        call |= {"trainer_state": self.state, "log_extra": self._log_completion_extra, "log_metric": self._log_metric}
        call |= {} if self.environments is None else {"environments": self.environments}
        own = self._own_rows(table, len(prompts))
        self._right = self._correctness.of_rows(inputs, own, call, self._context(), remember=self.model.training)
        return table

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        training = self.model.training
        every = self.args.steps_per_generation * self.num_iterations
        trl_runs_it = self.args.gradient_accumulation_steps % every != 0 or (
            self.use_vllm and self.vllm_importance_sampling_correction
        )
        self._kept_stats = [] if trl_runs_it else None
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        kept, self._kept_stats = self._kept_stats, None
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        attention = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
        length = output["completion_ids"].shape[1]
        if kept:
            behaviour = kept[0]
        else:
            size = self.args.per_device_train_batch_size if training else self.args.per_device_eval_batch_size
            with torch.no_grad():
                behaviour = self._forward.stats(self.model, ids, attention, length, self._needs, size)
        rows = len(output["completion_ids"])
        attempts = self.num_generations if training else self.num_generations_eval
        rollouts = rollouts_of(
            output,
            behaviour,
            self._own_rewards(rows),
            rewards=self._own_rows(self._reward_table, rows),
            correct=self._right,
            prompt_logp=self._prompt_logp(output) if self.recipe.needs_prompts else None,
            tool_calls=[row[TOOL_CALLS] for row in inputs] if TOOL_CALLS in inputs[0] else None,
            first_row=self.accelerator.process_index * rows,
            per_prompt=attempts,
            eos_token_ids=self.eos_token_ids,
        )
        context = self._context()
        rewarded = self.recipe.rewarded(rollouts, context)
        advantages = self.recipe.estimate(rewarded, context)
        if training:
            self._replayer.hold(rewarded, advantages, output)
        prepared = self.recipe.prepare(rollouts, advantages, context)
        output["advantages"] = advantages
        output |= named(COLUMN, rollouts.columns()) | named(PREPARED, prepared)
        if training and self._prompts is not None:
            chosen = torch.tensor([row[PROMPT_INDEX] for row in inputs], device=rollouts.tokens.device)
            self._tell_selector(context.gather(chosen).tolist(), rollouts, context)
        self._correct_logged_advantages(advantages, rollouts.trained)
        families = [str(row["family"]) for row in inputs] if "family" in inputs[0] else None
        for name, value in generation_numbers(rollouts, families, attempts, self.accelerator).items():
            self._metrics["train" if training else "eval"][name].append(value)
        if self._on_generation is not None:
            texts = self.processing_class.batch_decode(output["completion_ids"], skip_special_tokens=True)
            prompts = [row.get("prompt") for row in inputs]
            batch = GenerationBatch(
                self.state.global_step, not training, rollouts, advantages, prompts, texts, families
            )
            self._on_generation(batch)
        return output

    def _tell_selector(self, chosen: list[int], rollouts: Rollouts, context: Context) -> None:
        assert self._prompts is not None
        if rollouts.correct is not None or not isinstance(self._prompts, FixedPrompts):
            right = rollouts.require_correct(type(self._prompts).__name__)
            self._prompts.observe(chosen, context.gather(right).tolist())

    def _prompt_logp(self, output: Mapping[str, Any]) -> Tensor:
        distinct = Distinct.of(output["prompt_ids"], output["prompt_mask"], self._context())
        size = self.args.per_device_train_batch_size
        return distinct.to_rows(self._forward.prompt_logp(self.model, distinct.ids, distinct.mask, size))

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self.recipe.prepares_steps and not self.model.training:
            prepare_steps(self.recipe, [inputs], 1, self._context())
        elif self.recipe.prepares_steps and self._buffered_inputs is not before:
            # `inputs` is one of these very dicts, so it gains the new columns too.
            prepare_steps(self.recipe, self._buffered_inputs, self.args.gradient_accumulation_steps, self._context())
        return inputs

    def _own_rewards(self, rows: int) -> Tensor:
        """Weighted sum of the reward functions for this process's rows; NaN where none of them could score."""
        table = self._own_rows(self._reward_table, rows)
        weighted = table * self.reward_weights.to(table.device)
        reward: Tensor = weighted.nansum(1).masked_fill(torch.isnan(table).all(1), math.nan)
        return reward

    def _own_rows(self, table: Tensor | None, rows: int) -> Tensor:
        """This process's part of TRL's table of rewards, which is that of all processes."""
        assert table is not None
        start = self.accelerator.process_index * rows
        return table[start : start + rows]

    def _correct_logged_advantages(self, advantages: Tensor, train: Tensor) -> None:
        """TRL has logged advantages of its own; whoever reads the completions table must find the ones trained on."""
        mean = (advantages * train).sum(1) / train.sum(1).clamp(min=1)
        table = self._logs["advantages"]
        everywhere = self.accelerator.gather(mean).tolist()
        for _ in range(min(len(table), len(everywhere))):
            table.pop()
        table.extend(everywhere)

    def _context(self) -> Context:
        seed = (self.args.seed * 1_000_003 + self._step) % 2**63
        alone = self.accelerator.num_processes == 1
        return Context(
            step=self.state.global_step,
            # Before ``train`` the state knows no length; an evaluation then still has the arguments'.
            total_steps=max(self.state.max_steps, self.args.max_steps, 0),
            generator=torch.Generator().manual_seed(seed),
            rank=self.accelerator.process_index,
            **({} if alone else {"reduce": self._reduce, "gather": partial(gathered, self.accelerator)}),
        )

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        if self.radius is not None and self.model.training:
            self.radius.saw(inputs)
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        length = inputs["completion_ids"].shape[1]
        rollouts = Rollouts.from_columns(of_name(inputs, COLUMN))
        advantages, prepared = inputs["advantages"], of_name(inputs, PREPARED)
        totals = self._totals(inputs, len(rollouts))

        def result_of(current: PolicyStats) -> RecipeLoss:
            if self.on_statistics is not None and torch.is_grad_enabled():
                self.on_statistics(current)
            return self.recipe.loss(current, rollouts, advantages, prepared, totals)

        if self.recipe.separable and self._forward.head_unknown is None:
            loss, current = self._forward.loss(
                model, ids, attention, length, self._needs, lambda stats: result_of(stats).loss
            )
            with torch.no_grad():
                result = result_of(current)
        else:
            current = self._forward.stats(model, ids, attention, length, self._needs)
            result = result_of(current)
            loss = result.loss
        self._seen["train" if self.model.training else "eval"].add(result, current, rollouts)
        return loss

    def _totals(self, inputs: Mapping[str, Any], rows: int) -> Totals:
        """TRL's normalisers: token means by the step's share of the generation batch's tokens, over all processes."""
        tokens = inputs["num_items_in_batch"] / self.accelerator.num_processes
        if not self.model.training:
            return Totals(tokens=tokens, rows=rows, length=self.max_completion_length)
        accumulation = self.current_gradient_accumulation_steps
        return Totals(
            tokens=tokens * accumulation / self.args.steps_per_generation,
            rows=rows * accumulation,
            length=self.max_completion_length,
        )

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            seen = self._take("train")
            if seen:
                self.recipe.observe(seen, self._context())
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        self._seen["eval"] = StepMeans()
        return super().evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if not self.model.training:
            self._take("eval")
        super().log(logs, start_time)

    def _take(self, mode: str) -> dict[str, float]:
        """The numbers of an optimiser step, or of an evaluation, which TRL will log."""
        seen = self._seen[mode].take(self._reduce)
        for name, value in seen.items():
            self._metrics[mode][name].append(value)
        return seen

    def _resumable(self) -> dict[str, Any]:
        prompts = None if self._prompts is None else self._prompts.state_dict()
        own = {"recipe": self.recipe.state_dict(), "prompts": prompts, "graded": self._correctness.graded}
        return super()._resumable() | own | {"held": self._replayer.held}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        self.recipe.load_state_dict(state["recipe"])
        if self._prompts is not None and state["prompts"] is not None:
            self._prompts.load_state_dict(state["prompts"])
        self._correctness.graded = state.get("graded", False)
        self._replayer.restore(state.get("held", []))


def _columns(bound: Mapping[str, Any]) -> list[str] | None:
    """Columns that rows will have; None where sampling may add others, or the data set does not say."""
    adds = any(bound.get(name) is not None for name in ("rollout_func", "environment_factory"))
    return None if adds else getattr(bound.get("train_dataset"), "column_names", None)
