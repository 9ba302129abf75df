"""Which completions of a generation batch are right, by the name that the user gave."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import Context
from entrokit.rlvr.correctness import LEAST_RIGHT_REWARD, right_if_binary

from .rewards import RewardError

Correct = str | Callable[..., Sequence[Any]]


class Correctness:
    """Says which completions are right.

    Args:
        named: a reward function's name (right: it gives 1 or more), a column of the data set or of a ``rollout_func``
            (true where right), or a function of TRL's signature for rewards that gives a truth a completion. ``None``
            takes the only reward function, as long as it gives 0 and 1 alone.
        rewards: names of the reward functions. columns: of the data set; ``None`` where more may come while sampling.

    Raises:
        ValueError: a name that is none of these, or of two of them.
    """

    def __init__(self, named: Correct | None, rewards: Sequence[str], columns: Sequence[str] | None) -> None:
        self._named, self._rewards = named, list(rewards)
        # A reward that was ever anything but 0 and 1 is graded, whatever a later batch holds.
        self.graded = False
        if inspect.iscoroutinefunction(named):
            raise ValueError("correct: expected a plain function, got one that is async; make it a reward and name it")
        if isinstance(named, str):
            found = self._rewards.count(named) + (columns is not None and named in columns)
            if found > 1:
                raise ValueError(
                    f"correct={named!r} names {found} things among reward functions {self._rewards} and columns; give "
                    "it a name of its own, or pass a function"
                )
            if not found and columns is not None:
                raise ValueError(
                    f"correct={named!r} is neither a reward function {self._rewards} nor a column {list(columns)}"
                )

    def of_rows(
        self,
        inputs: Sequence[Mapping[str, Any]],
        table: Tensor,
        call: Mapping[str, Any],
        context: Context,
        *,
        remember: bool = True,
    ) -> Tensor | None:
        """Who is right among this process's rows, ``[B]`` bool; None where nothing says so.

        Args:
            inputs: TRL's rows. table: their rewards ``[B, K]``. call: what reward functions are called with.
            remember: that a reward turned out to be graded; an evaluation changes nothing for training.

        Raises:
            ValueError: a column that no row has. RewardError: a function that gives no truth a completion.
        """
        if callable(self._named):
            said = self._named(**call)
            return self._truths(said, len(inputs), getattr(self._named, "__name__", "correct")).to(table.device)
        if self._named is None:
            right = right_if_binary(table[:, 0], context) if table.shape[1] == 1 and not self.graded else None
            self.graded = self.graded or (remember and right is None)
            return right
        if self._named in self._rewards:
            return table[:, self._rewards.index(self._named)] >= LEAST_RIGHT_REWARD
        if any(self._named not in row for row in inputs):
            raise ValueError(
                f"correct={self._named!r} is neither a reward function {self._rewards} nor a column of the rows that "
                f"were sampled {sorted(inputs[0])}"
            )
        return self._truths([row[self._named] for row in inputs], len(inputs), self._named).to(table.device)

    @staticmethod
    def _truths(said: Any, rows: int, name: str) -> Tensor:
        values = said.tolist() if isinstance(said, Tensor) else list(said)
        if len(values) != rows:
            raise RewardError(f"correct={name!r} gave {len(values)} truths for {rows} completions")
        for i, value in enumerate(values):
            if value is not None and value not in (0, 1):
                raise RewardError(
                    f"correct={name!r} gave {value!r} for completion {i}; expected True or False (None where unknown)"
                )
        return torch.tensor([bool(value) for value in values])
