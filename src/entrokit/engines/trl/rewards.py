"""Reward functions whose failures say which function failed."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

from torch import Tensor


class RewardError(RuntimeError):
    """A reward function failed; the message names it."""


def explained(function: Any) -> Any:
    """A reward function whose failures say which function failed; models, names and coroutines stay as they are."""
    if not inspect.isroutine(function) or inspect.iscoroutinefunction(function):
        return function

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> list[float | None]:
        name = getattr(function, "__name__", type(function).__name__)
        try:
            rewards = function(*args, **kwargs)
        except Exception as error:
            raise RewardError(
                f"reward function {name!r} raised {type(error).__name__}: {error} (on a batch of "
                f"{len(kwargs.get('completions', ()))} completions, the first being "
                f"{str(next(iter(kwargs.get('completions', ())), None))[:80]!r})"
            ) from error
        if not isinstance(rewards, list | tuple | Tensor):
            raise RewardError(
                f"reward function {name!r} returned {type(rewards).__name__}; expected a list with one number (or None "
                "for a completion that it cannot score) per completion"
            )
        for i, value in enumerate(rewards):
            if value is not None and not math.isfinite(float(value)) and not math.isnan(float(value)):
                raise RewardError(
                    f"reward function {name!r} returned {value} for completion {i}; rewards must be finite"
                )
        return list(rewards)

    return wrapper
