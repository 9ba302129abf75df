"""Stage `select`: which prompts the next generation batch takes.

Rare-event pairing (arXiv 2602.03452) probes once and then trains on one pair of prompts: a hard one that succeeds
rarely and an easy one that fails rarely (`select_pair`). Selecting again from running success rates is a variant of its
own name, `RunningRarePair`. The usual contrast takes the prompts of highest variance.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from entrokit.rlvr.interventions.weighted_grpo import select_pair

logger = logging.getLogger(__name__)


class PromptSelector(Protocol):
    """What an engine asks for prompts, by their index in the data set."""

    def next(self, count: int) -> list[int]:
        """Prompts of the next generation batch, ``count`` of them, in order; a prompt may stand there several times."""
        ...

    def observe(self, prompts: Sequence[int], correct: Sequence[bool]) -> None:
        """Outcomes of a generation batch of training, one a completion, over all ranks."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass
class FixedPrompts:
    """The same prompts in every batch, in turn."""

    prompts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("FixedPrompts: needs at least one prompt")

    def next(self, count: int) -> list[int]:
        if count % len(self.prompts):
            raise ValueError(
                f"{type(self).__name__}: a generation batch of {count} prompts is no multiple of the "
                f"{len(self.prompts)} selected ones"
            )
        return list(self.prompts) * (count // len(self.prompts))

    def observe(self, prompts: Sequence[int], correct: Sequence[bool]) -> None:
        """Nothing changes."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """There is no state."""


def rare_pair(counts: Sequence[int], G: int, width: int = 2) -> FixedPrompts:
    """The pair of rare-event pairing, chosen once: ``(q+, q-)`` by their right answers out of ``G``.

    Raises:
        ValueError: no prompt succeeds, or fails, 1 to ``width`` times.
    """
    minus, plus = select_pair(counts, counts, G, width)
    return FixedPrompts((plus, minus))


def highest_variance(counts: Sequence[int], G: int, n: int = 2) -> FixedPrompts:
    """The ``n`` prompts whose success rate is nearest 1/2; ties go to the lowest index.

    Raises:
        ValueError: fewer than ``n`` prompts that both succeed and fail.
    """
    mixed = [i for i, k in enumerate(counts) if 0 < k < G]
    if len(mixed) < n:
        raise ValueError(f"highest_variance: {len(mixed)} of {len(counts)} prompts succeed and fail; {n} are needed")
    return FixedPrompts(tuple(sorted(mixed, key=lambda i: abs(counts[i] / G - 0.5))[:n]))


@dataclass
class RunningRarePair:
    """A pair that is chosen again whenever outcomes of training have made it ordinary.

    Attributes:
        counts: right answers out of ``G`` of every prompt, as probed.
        G, width: as for `select_pair`.

    A prompt's count is that of its last ``G`` answers. While no other pair is eligible the last one stays.
    """

    counts: list[int]
    G: int
    width: int = 2
    recent: dict[int, list[bool]] = field(default_factory=dict)
    pair: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.pair:
            self.pair = rare_pair(self.counts, self.G, self.width).prompts

    def next(self, count: int) -> list[int]:
        return FixedPrompts(self.pair).next(count)

    def observe(self, prompts: Sequence[int], correct: Sequence[bool]) -> None:
        for prompt, right in zip(prompts, correct, strict=True):
            self.recent[prompt] = [*self.recent.get(prompt, []), bool(right)][-self.G :]
        for prompt, outcomes in self.recent.items():
            if len(outcomes) == self.G:
                self.counts[prompt] = sum(outcomes)
        try:
            self.pair = rare_pair(self.counts, self.G, self.width).prompts
        except ValueError as error:
            logger.warning("the pair of prompts %s stays: %s", self.pair, error)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": list(self.counts), "recent": {k: list(v) for k, v in self.recent.items()}, "pair": self.pair}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts = list(state["counts"])
        self.recent = {int(k): list(v) for k, v in state["recent"].items()}
        self.pair = tuple(state["pair"])
