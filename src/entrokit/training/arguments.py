"""What a run's settings are to TRL's trainer: its config, adapters, radii, and who chooses the prompts."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import torch

from entrokit.rlvr.selection import FixedPrompts, highest_variance, rare_pair
from entrokit.rlvr.tasks import Task

from .settings import POCKET, TrainSettings

if TYPE_CHECKING:
    from entrokit.engines.trl import RadiusOptions

# Held-out completions that are sampled at a time: a bar moves after each.
_EVALUATION_ROWS = 256


def grpo_config(settings: TrainSettings, task: Task) -> Any:
    """TRL's `GRPOConfig`; vLLM that is asked for and not installed is a `ValueError`."""
    from trl import GRPOConfig

    if settings.vllm and importlib.util.find_spec("vllm") is None:
        raise ValueError("vllm: vLLM is not installed here; `entrokit doctor` says which versions go with this TRL")
    rows = settings.prompts * settings.completions
    recomputed = settings.gradient_checkpointing
    loading = {} if settings.model == POCKET else {"dtype": settings.dtype}
    return GRPOConfig(
        output_dir=settings.out,
        per_device_train_batch_size=rows // settings.updates,
        per_device_eval_batch_size=settings.completions * max(1, _EVALUATION_ROWS // settings.completions),
        steps_per_generation=settings.updates,
        num_generations=settings.completions,
        max_completion_length=settings.max_completion_length or task.max_completion_length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        learning_rate=settings.rate,
        lr_scheduler_type="constant",
        max_steps=settings.steps,
        trust_remote_code=settings.trust_remote_code,
        model_init_kwargs=loading or None,
        use_vllm=settings.vllm,
        vllm_mode="colocate",
        logging_steps=settings.updates,
        logging_first_step=False,
        save_strategy="steps" if settings.save_every else "no",
        save_steps=settings.save_every or 1,
        save_total_limit=2,
        report_to=[],
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=torch.cuda.is_available() if recomputed is None else recomputed,
        disable_tqdm=True,
    )


def adapters(settings: TrainSettings) -> Any:
    """A LoRA config of `peft`; None where the whole model is trained."""
    if not settings.lora:
        return None
    from peft import LoraConfig

    # Twice the rank is the usual scale: a rank changes what can be learned and not how far a step goes.
    return LoraConfig(r=settings.lora, lora_alpha=2 * settings.lora, target_modules="all-linear", task_type="CAUSAL_LM")


def radius_options(settings: TrainSettings) -> RadiusOptions | None:
    """None where steps are not measured in radii."""
    if not settings.radius_every:
        return None
    from entrokit.engines.trl import RadiusOptions

    return RadiusOptions(settings.radius_every, settings.radius_rows or None, settings.radius_clip)


def selector(settings: TrainSettings, task: Task, model: Any, tokenizer: Any) -> FixedPrompts | None:
    """By the successes of the untrained pocket policy; None where prompts come in an order drawn beforehand.

    Raises:
        ValueError: any other model.
    """
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
