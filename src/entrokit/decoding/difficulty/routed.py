"""Answers questions with the strategy that a `DifficultyProbe` chooses for each, under any model of `transformers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .probe import STRATEGIES, DifficultyProbe, Strategy, prefill_states, route


@dataclass(frozen=True)
class RoutedAnswer:
    """An answer, the strategy that gave it, and how many tokens it took. ``truncated``: it reached its limit."""

    text: str
    strategy: Strategy
    tokens: int
    truncated: bool


def instructed(question: str, strategy: Strategy) -> str:
    """The strategy's words before the question."""
    return f"{strategy.prompt}\n{question}"


def generate_routed(
    model: Any,
    tokenizer: Any,
    questions: Sequence[str],
    probe: DifficultyProbe,
    *,
    strategies: Sequence[Strategy] = STRATEGIES,
    max_tokens: int = 32_768,
    min_confidence: float = 0.0,
    write: Callable[[str, Strategy], str] = instructed,
    **options: Any,
) -> list[RoutedAnswer]:
    """Reads every question once, routes it, and generates strategy by strategy.

    Args:
        model, tokenizer: of `transformers`; the tokenizer pads on the left.
        write: makes the prompt from a question and its strategy.
        options: of ``model.generate``; temperature and token limit are the strategy's.

    Raises:
        ValueError: a tokenizer that pads on the right, of which a model would go on with padding.
    """
    if tokenizer.padding_side != "left":
        raise ValueError("generate_routed: the tokenizer pads on the right; load it with padding_side='left'")
    read = tokenizer(list(questions), return_tensors="pt", padding=True).to(model.device)
    chosen = route(
        prefill_states(model, read["input_ids"], read["attention_mask"]), probe, strategies, max_tokens, min_confidence
    )
    answers: list[RoutedAnswer | None] = [None] * len(questions)
    for strategy, limit in dict.fromkeys(chosen):
        own = [i for i, c in enumerate(chosen) if c == (strategy, limit)]
        prompts = [write(questions[i], strategy) for i in own]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True).to(model.device)
        given = {"do_sample": True, "temperature": strategy.temperature, "max_new_tokens": limit}
        with torch.no_grad():
            out = model.generate(**inputs, **options, **given)[:, inputs["input_ids"].shape[1] :]
        for i, ids in zip(own, out.tolist(), strict=True):
            end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else None
            said = ids if end is None else ids[:end]
            text = tokenizer.decode(said, skip_special_tokens=True)
            answers[i] = RoutedAnswer(text, strategy, len(ids) if end is None else end + 1, end is None)
    return [answer for answer in answers if answer is not None]
