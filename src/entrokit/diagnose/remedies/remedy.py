"""A remedy, and the words of the run that it is for: its engine's options, and the numbers that it had."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from entrokit.runs import TrainingLog

from ..levers import Levers
from ..levers.reading import number_at

# Engines whose trainers take our recipes: `EntropyGRPOTrainer`, the plug-in, our own; None is a run of any loop.
_CARRY_RECIPES = (None, "entrokit", "entrokit-trl", "trl", "verl")


@dataclass(frozen=True)
class Remedy:
    """What to do: in words, as a recipe of ours, and as lines to paste into the run's own command or config.

    Attributes:
        text: in words. recipe: a string for `EntropyGRPOTrainer`, the verl plug-in or `entrokit train`; None where a
            setting is meant, or where no trainer of ours carries the run's engine.
        write: what to paste: arguments, overrides, flags or YAML lines, in one line or (YAML) more.
    """

    text: str
    recipe: str | None = None
    write: str | None = None

    def __str__(self) -> str:
        ways = [way for way in (self.recipe, self.write) if way]
        return f"{' or '.join(ways)}: {self.text}" if ways else self.text


@dataclass(frozen=True)
class RunWords:
    """What remedies need to know of a run.

    Attributes:
        engine: key of its engine (`trl`, `verl`, …); None where it is not known.
        config: its hyperparameters, flat or nested as they were logged. supervised: whether no rewards are in it.
        logged_rate: the highest learning rate among its metrics.
    """

    engine: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    supervised: bool = False
    logged_rate: float | None = None

    @classmethod
    def of(cls, log: TrainingLog) -> RunWords:
        """From a run as it was read."""
        rates = log.get("learning_rate")
        peak = float(rates.values.max()) if rates is not None else 0.0
        return cls(log.engine, log.config, log.kind == "supervised", peak if peak > 0 else None)

    @property
    def levers(self) -> Levers:
        return Levers.of(self.engine, supervised=self.supervised)

    @property
    def carries_recipes(self) -> bool:
        return not self.supervised and self.engine in _CARRY_RECIPES

    def known(self, lever: str) -> float | None:
        """The number above 0 that the run had where a lever changes one."""
        return self.levers.current(lever, self.config)

    def number(self, option: str, lever: str) -> float | None:
        """The number above 0 of an option that is one of several in a lever's line, e.g. `top_p`."""
        line = self.levers.say(lever).write or ""
        paths = [option, *re.findall(rf"([\w.-]*\b{option.replace('_', '[_-]')})[= ]", line)]
        return next((n for path in paths if (n := number_at(self.config, path))), None)

    def pull(self, lever: str, text: str, recipe: str | None = None, value: float | None = None) -> Remedy:
        """A remedy by a lever, in the engine's words; a recipe of ours makes up for an option that is missing."""
        carried = recipe if self.carries_recipes else None
        if carried is not None and not self.levers.has(lever):
            return Remedy(text, carried)
        advice = self.levers.say(lever, value=value)
        return Remedy(f"{text}; {advice.note}" if advice.note else text, carried, advice.write)

    def best(self, candidates: Iterable[tuple[str, str]], most: int) -> tuple[Remedy, ...]:
        """The first of some levers that the engine has an option for; then what is closest to the others."""
        ordered = sorted(candidates, key=lambda c: not self.levers.has(c[0]))
        return distinct(*(self.pull(lever, text) for lever, text in ordered))[:most]

    def slower(self, text: str) -> Remedy:
        """A tenth of the learning rate; ``text`` ends in these words."""
        rate = self.known("lower_learning_rate") or self.logged_rate
        was = f" (it was {rate:g}; try {rate / 10:g})" if rate else ""
        return self.pull("lower_learning_rate", text + was, value=rate / 10 if rate else None)

    def clipped(self, text: str) -> Remedy:
        """A gradient that is clipped at half the norm of before."""
        norm = self.known("clip_gradient")
        was = f" (it was clipped at {norm:g})" if norm else ""
        return self.pull("clip_gradient", text + was, value=norm / 2 if norm else None)

    def doubled(self, lever: str, text: str) -> Remedy:
        """Twice of what the run had."""
        had = self.known(lever)
        was = f" (it was {had:g}; try {2 * had:g})" if had else ""
        return self.pull(lever, text + was, value=2 * had if had else None)


def distinct(*remedies: Remedy) -> tuple[Remedy, ...]:
    """Without those that paste what one before them pastes: what is closest to two levers may be the same line."""
    return tuple(r for i, r in enumerate(remedies) if r.write is None or r.write not in {e.write for e in remedies[:i]})
