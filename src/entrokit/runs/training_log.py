"""What any engine wrote about a run, in one form: named series, a stream of completions, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .series import Broken, Floats, Series

# Kinds of note that are told apart: a hostile file could make a new one of every line.
_MOST_NOTES = 40
_MORE = "something else could not be read"


class Notes:
    """What could not be read, told once each with how often and where first."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, what: str, where: object) -> None:
        if what not in self._count and len(self._count) >= _MOST_NOTES:
            what = _MORE
        self._count[what] += 1
        self._first.setdefault(what, str(where))

    def lines(self) -> list[str]:
        return [
            f"{what} ({self._first[what]}" + (f", and {n - 1} more)" if n > 1 else ")")
            for what, n in self._count.items()
        ]


@dataclass(frozen=True)
class Completion:
    """One completion as it was written. Everything that a format does not hold is None.

    Attributes:
        step: optimiser step. prompt, text: texts. family: kind of prompt.
        reward: a number. truncated: cut off by the length limit. advantage: mean over its tokens.
        logp, entropy: ``[T]``, log-probability of each token under the policy that trains, and entropy of its state
            (nats).
        sampler_logp: ``[T]``, what the engine that sampled reported.
        entropy_bounds: ``[T, 2]``, lowest and highest entropy that a truncated top-k allows.
    """

    step: float
    prompt: str
    text: str
    family: str | None = None
    reward: float | None = None
    truncated: bool | None = None
    advantage: float | None = None
    logp: Floats | None = None
    entropy: Floats | None = None
    sampler_logp: Floats | None = None
    entropy_bounds: Floats | None = None


@dataclass(frozen=True)
class Column:
    """A column of a log, and what it was taken for.

    Attributes:
        name: as it was written. key: the quantity that it was taken for (`quantities`); None for none.
        why: how it came to that, or why it was passed over. points: numbers in it. broken: what was not finite.
        source: what it was read from.
    """

    name: str
    key: str | None
    why: str
    points: int
    broken: Broken | None = None
    source: str = ""


def _no_completions() -> Iterator[Completion]:
    return iter(())


Kind = Literal["rl", "supervised", "unknown"]


@dataclass(frozen=True)
class TrainingLog:
    """A run as its files tell it. Build it with `read_log`.

    Attributes:
        where: the file or folder. source: what it was recognised as, e.g. ``TRL run``.
        series: by quantity (`quantities`); a family's own are ``reward/<family>`` and
            ``entropy/<family>``.
        config: what was asked for, as far as it is written down.
        completions: opens the stream of completions; it can be opened again. Never the whole of them in memory.
        account: the file of entropy accounts, if there is one.
        notes: what could not be read; grows while completions are streamed.
        engine: whose names the metrics have (`names`); None where they do not tell.
        kind: reinforcement learning (there are rewards), or supervised training.
        columns: all that was found, and what it was taken for.
        run: its name, where several runs were found together or the log tells it.
    """

    where: Path
    source: str
    series: Mapping[str, Series] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    completions: Callable[[], Iterator[Completion]] = _no_completions
    account: Path | None = None
    notes: Notes = field(default_factory=Notes)
    engine: str | None = None
    kind: Kind = "unknown"
    columns: tuple[Column, ...] = ()
    run: str | None = None

    def get(self, name: str) -> Series | None:
        """A series by entrokit's name; None where it was not written."""
        found = self.series.get(name)
        return found if found is not None and len(found) else None

    def broken(self) -> dict[str, Broken]:
        """What was written as NaN or infinity, by entrokit's name of the metric."""
        return {name: s.broken for name, s in self.series.items() if s.broken is not None}
