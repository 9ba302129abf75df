"""How a task's prompts are put to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from entrokit.rlvr.tasks import Task

from .models import ModelError
from .settings import TrainSettings

if TYPE_CHECKING:
    from datasets import Dataset

_ASKED = {
    "plain": "",
    "tags": " Write your final answer between <answer> and </answer>.",
    "boxed": " Write your final answer inside \\boxed{}.",
}


def datasets_for(settings: TrainSettings, task: Task, model: Any, tokenizer: Any) -> tuple[Dataset, Dataset]:
    """Training and held-out prompts, as many of these as the settings ask for.

    A model with a chat template reads messages, and a task's prompts in words where it has them; one without reads
    plain text in the task's own notation.

    Args:
        model: the loaded model, or the path or hub id of its config.

    Raises:
        ModelError: the chat template cannot render a prompt, or prompt and completion together do not fit the model.
        ValueError: an answer format that the task does not read, or a second system message.
    """
    if settings.answer != "plain" and settings.answer not in task.answers:
        read = ", ".join(("plain", *task.answers))
        raise ValueError(f"answer={settings.answer!r}: {task.name} does not read that; it reads {read}")

    def put(row: Mapping[str, Any]) -> dict[str, Any]:
        prompt = row["prompt"]
        if isinstance(prompt, str):
            if tokenizer.chat_template and task.in_words is not None:
                prompt = task.in_words(row)
            prompt += _ASKED[settings.answer]
            if tokenizer.chat_template:
                prompt = [{"role": "user", "content": prompt}]
        elif settings.answer != "plain":
            # The last message asks.
            *before, last = prompt
            prompt = [*before, {**last, "content": last["content"] + _ASKED[settings.answer]}]
        if settings.system is not None and not isinstance(prompt, str):
            if prompt[0]["role"] == "system":
                raise ValueError(f"system: prompts of {task.name} bring a system message of their own; leave it out")
            prompt = [{"role": "system", "content": settings.system}, *prompt]
        return dict(row) | {"prompt": prompt}

    held_out = task.evaluation.select(range(min(settings.evaluation_prompts, len(task.evaluation))))
    train, evaluation = (_rows(part, put) for part in (task.train, held_out))
    context = _context(settings, model)
    for part, name in ((train, "training"), (evaluation, "held-out")):
        _check_fit(settings, task, part, name, context, tokenizer)
    return train, evaluation


def _rows(part: Dataset, put: Any) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list([put(row) for row in part]) if len(part) else part


def _check_fit(
    settings: TrainSettings, task: Task, prompts: Dataset, name: str, context: int | None, tokenizer: Any
) -> None:
    completion = settings.max_completion_length or task.max_completion_length
    for i, row in enumerate(prompts):
        try:
            tokens = _tokens(row["prompt"], tokenizer)
        except Exception as error:  # jinja's own errors, and whatever a template raises itself
            raise ModelError(
                f"model {settings.model}: its chat template fails on {name} prompt {i}: "
                f"{type(error).__name__}: {error}"
                + ("" if settings.system is None else "; it may refuse a system message")
            ) from error
        if context is not None and tokens + completion > context:
            raise ModelError(
                f"{name} prompt {i} has {tokens} tokens; with completions of {completion} (max_completion_length) "
                f"that is more than the {context} of {settings.model}'s context"
            )


def _tokens(prompt: Any, tokenizer: Any) -> int:
    if isinstance(prompt, str):
        return len(tokenizer(prompt)["input_ids"])
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _context(settings: TrainSettings, model: Any) -> int | None:
    """Positions that a model knows; None where its config does not say."""
    if isinstance(model, str):
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(model, trust_remote_code=settings.trust_remote_code)
    else:
        config = model.config
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None
