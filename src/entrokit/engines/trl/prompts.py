"""Prompts by choice: a sampler in TRL's layout that asks a `PromptSelector`, and the probe that counts successes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from entrokit.rlvr.correctness import LEAST_RIGHT_REWARD
from entrokit.rlvr.selection import PromptSelector

PROMPT_INDEX = "entrokit_prompt"


def refuse_long(prompts: Sequence[Any], ids: Sequence[Sequence[int]], room: int, limit: int | None) -> None:
    """Raises `ValueError` for a prompt that leaves less room than a completion may need in a context of ``limit``."""
    for prompt, own in zip(prompts, ids, strict=True):
        if limit is not None and len(own) + room > limit:
            raise ValueError(
                f"prompt of {len(own)} tokens ({str(prompt)[:60]!r}...) and max_completion_length="
                f"{room} exceed the model's context of {limit} tokens; drop long prompts "
                "from the dataset, or lower max_completion_length"
            )


class SelectingSampler(Sampler[int]):
    """Indices of chosen prompts as TRL's `RepeatSampler` orders them.

    Args:
        selector: is asked anew for every generation batch, when that batch is drawn: a loader that draws ahead asks
            before it has seen the outcomes of the batch before.
        batches: generation batches of an epoch. prompts: of each, repeats counted.
        completions: of each prompt. repeats: how often TRL draws a generation batch (once an optimiser step).
    """

    def __init__(self, selector: PromptSelector, batches: int, prompts: int, completions: int, repeats: int) -> None:
        self.selector, self.batches, self.prompts = selector, batches, prompts
        self.completions, self.repeats = completions, repeats

    def __iter__(self) -> Iterator[int]:
        for _ in range(self.batches):
            chosen = self.selector.next(self.prompts)
            for _ in range(self.repeats):
                for prompt in chosen:
                    yield from [prompt] * self.completions

    def __len__(self) -> int:
        return self.batches * self.prompts * self.completions * self.repeats


def success_counts(
    model: Any,
    tokenizer: Any,
    dataset: Any,
    reward: Callable[..., Sequence[float | None]],
    G: int,
    *,
    max_completion_length: int,
    temperature: float = 1.0,
    batch_size: int = 32,
) -> list[int]:
    """Right answers out of ``G`` samples of every prompt of a data set, by a TRL reward function that gives 1 for them.

    Args:
        dataset: rows with ``prompt`` as text, and the columns that ``reward`` takes. batch_size: prompts at a time.
    """
    counts = []
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    for start in range(0, len(dataset), batch_size):
        rows = [dataset[i] for i in range(start, min(start + batch_size, len(dataset)))]
        inputs = tokenizer([r["prompt"] for r in rows], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            output = model.generate(
                **{k: inputs[k].to(device) for k in ("input_ids", "attention_mask")},
                do_sample=True,
                temperature=temperature,
                top_k=0,
                max_new_tokens=max_completion_length,
                num_return_sequences=G,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        columns = {name: [row[name] for row in rows for _ in range(G)] for name in rows[0] if name != "prompt"}
        scores = reward(prompts=[r["prompt"] for r in rows for _ in range(G)], completions=texts, **columns)
        right = [score is not None and score >= LEAST_RIGHT_REWARD for score in scores]
        counts += [sum(right[i * G : (i + 1) * G]) for i in range(len(rows))]
    model.train(was_training)
    return counts
