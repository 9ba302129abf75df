"""Any task of the `reasoning-gym` package by its name, scored by its own verifier."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from .task import Task, completion_text

_MAX_ANSWER = 10_000


def reasoning_gym_task(name: str, train_size: int = 2048, eval_size: int = 128, seed: int = 0, **config: Any) -> Task:
    """A `reasoning-gym` task as TRL expects one.

    Args:
        name: e.g. ``chain_sum``; ``config``: that dataset's own settings.
        train_size, eval_size: number of questions, from different seeds.

    The answer is what stands in the last ``<answer>…</answer>``, or the whole completion where there is none; answers
    over 10 000 characters score 0 unread.

    Raises:
        ImportError: the extra `tasks` is not installed.
        ValueError: unknown name, with the nearest ones.
    """
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        raise ImportError("reasoning-gym tasks need the extra: pip install 'entrokit[tasks]'") from error
    from datasets import Dataset

    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise ValueError(f"reasoning-gym has no task {name!r}{hint} It has {len(DATASETS)} tasks")
    parts = {
        "train": create_dataset(name, size=train_size, seed=seed, **config),
        "evaluation": create_dataset(name, size=eval_size, seed=seed + 1_000_003, **config),
    }

    def rows(part: str) -> Dataset:
        return Dataset.from_list(
            [{"prompt": parts[part][i]["question"], "part": part, "index": i} for i in range(len(parts[part]))]
        )

    return Task(
        name=f"reasoning-gym:{name}",
        train=rows("train"),
        evaluation=rows("evaluation"),
        reward=_reward(name, parts),
        max_completion_length=256,
        correct=name,
        answers=("tags",),
    )


def _reward(name: str, parts: dict[str, Any]) -> Callable[..., list[float]]:
    from reasoning_gym.utils import extract_answer

    def reward(completions: list[Any], part: list[str], index: list[int], **kwargs: Any) -> list[float]:
        scores = []
        for completion, p, i in zip(completions, part, index, strict=True):
            text = completion_text(completion)
            if len(text) > _MAX_ANSWER:
                scores.append(0.0)
                continue
            answer = extract_answer(text)
            scores.append(float(parts[p].score_answer(text.strip() if answer is None else answer, parts[p][i])))
        return scores

    reward.__name__ = name
    return reward
