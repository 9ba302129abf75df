"""A data mix that replays general data beside the task, so that what a model could do before is not forgotten.

RECAP (arXiv 2510.21978): prompts of several sources in one run, each scored by the reward functions that apply to it;
`recap` then weighs those rewards. Rewards of another source are ``None``, which TRL and `Recap` leave out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset, interleave_datasets

SOURCE = "source"


def replay_mix(
    target: Dataset, general: Mapping[str, Dataset], share: float, *, seed: int = 0, target_name: str = "target"
) -> Dataset:
    """The target task's prompts mixed with those of general sources, at random, in proportion.

    Args:
        target: the task, whose every row appears at least once. general: data sets to replay, by name.
        share: of all rows that are general, in (0, 1), evenly over the sources; they begin again when exhausted.
        seed: of the order.

    Returns:
        A data set with a column ``source``; columns that a source lacks are None there.

    Raises:
        ValueError: a share outside (0, 1), no source, an empty data set, or one with a column ``source`` of its own.
    """
    if not 0.0 < share < 1.0 or not general:
        raise ValueError(f"replay_mix: needs a share in (0, 1) and a general source, got {share} and {list(general)}")
    every = {target_name: target, **general}
    if len(every) != 1 + len(general):
        raise ValueError(f"replay_mix: the target's name {target_name!r} is that of a general source")
    for name, data in every.items():
        if not len(data) or SOURCE in data.column_names:
            what = "is empty" if not len(data) else f"has a column {SOURCE!r} of its own; rename it"
            raise ValueError(f"replay_mix: {name!r} {what}")
    named = [data.add_column(SOURCE, [name] * len(data)) for name, data in every.items()]
    odds = [1.0 - share, *[share / len(general)] * len(general)]
    return interleave_datasets(named, probabilities=odds, seed=seed, stopping_strategy="all_exhausted")


def only_for(source: str, reward: Callable[..., list[float | None]]) -> Callable[..., list[float | None]]:
    """A reward function for one source of a `replay_mix`: None for completions of the others, which it is not shown."""

    wanted = source

    @functools.wraps(reward)
    def applied(prompts: list[Any], completions: list[Any], source: list[str], **columns: Any) -> list[float | None]:
        own = [i for i, s in enumerate(source) if s == wanted]
        lists = {k: [v[i] for i in own] if _per_row(v, source) else v for k, v in columns.items()}
        scores = (
            reward(prompts=[prompts[i] for i in own], completions=[completions[i] for i in own], **lists) if own else []
        )
        given: list[float | None] = [None] * len(source)
        for i, score in zip(own, scores, strict=True):
            given[i] = score
        return given

    applied.__name__ = f"{getattr(reward, '__name__', 'reward')}_{source}"
    return applied


def _per_row(value: Any, source: list[str]) -> bool:
    return isinstance(value, list) and len(value) == len(source)
