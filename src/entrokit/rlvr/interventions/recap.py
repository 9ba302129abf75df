"""RECAP: of several rewards, those that stall, fall or fluctuate get more weight, those that improve quickly less.

Beyond Reasoning Gains: Mitigating General Capabilities Forgetting in Large Reasoning Models (arXiv 2510.21978). Of each
objective the last 2W batch means h are kept, their older half o and newer half n. For rewards (losses: n over o):

    c = Σ o / Σ n        i = std(h) / mean(h)        weight = K (α softmax(c / T) + (1 - α) softmax(i / T))

K objectives, so weights add up to K. Direction, as defined: a saturated objective has c = 1 and one that improves fast
less, so by c alone weight moves *to* the saturated; only the instability i takes it from those that sit still.

``rule="code"`` is the official code's, above. ``blend`` (README) and ``sum`` (paper v1) take one softmax of
``α c + (1 - α) i`` and of ``c + i``; ``sum`` has ``i = std(n) / (mean n + mean o)``. Departure: c is held in [0, 10],
since a reward that falls to nothing would take all weight (``max_ratio``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..card import Card
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts

__all__ = ["DynamicObjectiveWeights", "Recap", "combine_rewards"]

RULES = ("code", "blend", "sum")
_TINY = 1e-15


class DynamicObjectiveWeights:
    """Weights of objectives from their recent history; plain numbers, no gradient.

    Args:
        names: of the objectives. kinds: ``reward`` (larger is better, the default) or ``loss`` of each.
        window: W, at least 1; 2W values are kept. temperature: T > 0. alpha: in [0, 1], or ``"anneal"`` for
            ``1 - step / max_steps``. rule: one of code, blend, sum.
        max_ratio: upper bound of c.

    Raises:
        ValueError: an unknown kind or rule, or a number out of range.
    """

    def __init__(
        self,
        names: Sequence[str],
        kinds: Mapping[str, str] | None = None,
        window: int = 10,
        temperature: float = 5.0,
        alpha: float | str = 0.5,
        rule: str = "code",
        max_ratio: float = 10.0,
    ) -> None:
        kinds = dict(kinds or {})
        unknown = sorted(set(kinds.values()) - {"reward", "loss"}) + sorted(set(kinds) - set(names))
        if unknown:
            raise ValueError(
                f"recap: unknown kind or name {unknown[0]!r}; kinds are reward and loss, names {list(names)}"
            )
        if rule not in RULES:
            raise ValueError(f"recap: unknown rule {rule!r}; valid names are {list(RULES)}")
        if window < 1 or temperature <= 0:
            raise ValueError(
                f"recap: window must be at least 1 and temperature above 0, got {window} and {temperature}"
            )
        if alpha != "anneal" and not (isinstance(alpha, (int, float)) and 0 <= alpha <= 1):
            raise ValueError(f"recap: alpha must be in [0, 1] or 'anneal', got {alpha!r}")
        self.names, self.window, self.temperature = list(names), window, temperature
        self.alpha, self.rule, self.max_ratio = alpha, rule, max_ratio
        self._is_loss = {name: kinds.get(name) == "loss" for name in names}
        self._history = {name: deque[float](maxlen=2 * window) for name in names}

    def update(self, values: Mapping[str, float]) -> None:
        """Adds a value of some objectives; NaN counts as not there.

        Raises:
            ValueError: an objective of another name.
        """
        for name, value in values.items():
            if name not in self._history:
                raise ValueError(f"recap: no objective {name!r}; there are {self.names}")
            if math.isfinite(value):
                self._history[name].append(float(value))

    def scores(self) -> dict[str, tuple[float, float]]:
        """``(c, i)`` of every objective with a history."""
        return {name: self._score(list(h), self._is_loss[name]) for name, h in self._history.items() if h}

    def weights(self, step: int | None = None, max_steps: int | None = None) -> dict[str, float]:
        """Weights of the objectives with a history, which add up to their number; the others have 0.

        Args:
            step, max_steps: of the run, where ``alpha="anneal"``.
        """
        scores = self.scores()
        if not scores:
            return dict.fromkeys(self.names, 0.0)
        alpha = self._alpha(step, max_steps)
        c, i = zip(*scores.values(), strict=True)
        if self.rule == "code":
            shares = [alpha * a + (1 - alpha) * b for a, b in zip(self._softmax(c), self._softmax(i), strict=True)]
        elif self.rule == "blend":
            shares = self._softmax([alpha * a + (1 - alpha) * b for a, b in zip(c, i, strict=True)])
        else:
            shares = self._softmax([a + b for a, b in zip(c, i, strict=True)])
        found = dict(zip(scores, (len(scores) * s for s in shares), strict=True))
        return {name: found.get(name, 0.0) for name in self.names}

    def state_dict(self) -> dict[str, Any]:
        return {name: list(h) for name, h in self._history.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores histories; those of other objectives are a `ValueError`."""
        if set(state) != set(self.names):
            raise ValueError(f"recap: the saved state is of {sorted(state)}, not of {self.names}")
        for name, values in state.items():
            self._history[name] = deque((float(v) for v in values), maxlen=2 * self.window)

    def _score(self, history: list[float], loss: bool) -> tuple[float, float]:
        half = len(history) // 2
        if not half:
            return 1.0, 0.0
        kept = history[-2 * half :]
        old, new = kept[:half], kept[half:]
        ratio = sum(new) / (sum(old) + _TINY) if loss else sum(old) / (sum(new) + _TINY)
        if self.rule == "sum":
            mean_old, mean_new = sum(old) / half, sum(new) / half
            unrest = _std(new) / (abs(mean_new + mean_old) + _TINY)
        else:
            unrest = _std(kept) / (abs(sum(kept) / len(kept)) + _TINY)
        return min(max(ratio, 0.0), self.max_ratio), unrest

    def _alpha(self, step: int | None, max_steps: int | None) -> float:
        if not isinstance(self.alpha, str):
            return float(self.alpha)
        if step is None or not max_steps:
            raise ValueError("recap: alpha='anneal' needs the step and the number of steps of the run")
        return 1.0 - step / max_steps

    def _softmax(self, values: Sequence[float]) -> list[float]:
        top = max(values)
        exps = [math.exp((v - top) / self.temperature) for v in values]
        return [e / sum(exps) for e in exps]


def combine_rewards(rewards: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rewards, ``[B]``, over those that apply to a completion; NaN where none does.

    Args:
        rewards: ``[B, K]``, NaN where a reward does not apply. weights: ``[K]``.
    """
    total = torch.where(torch.isnan(rewards), 0.0, rewards * weights).sum(1)
    return total.masked_fill(torch.isnan(rewards).all(1), math.nan)


def _std(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


@dataclass
class Recap(Intervention):
    """RECAP's weights for the reward functions of a run, instead of fixed ones; put it before interventions that change
    the reward, whose work it would undo. Knobs: `window` (W, in generation
    batches), `temperature` (T), `alpha` (α), `rule`.
    """

    name: ClassVar[str] = "recap"
    card: ClassVar[Card] = Card(
        "2510.21978",
        examples=("grpo+recap(temperature=0.5)",),
        not_ranked="weighs several rewards against one another; the benches have one",
        refused_by={
            "verl": "it weighs several rewards, and verl hands over one score a completion; use it under TRL",
            "tinker": "it weighs several rewards, and a trajectory group has one total a trajectory; use it under TRL",
        },
    )
    replaces: ClassVar[str | None] = "reward"
    window: int = 10
    temperature: float = 5.0
    alpha: float = 0.5
    rule: str = "code"
    histories: list[list[float]] = field(default_factory=list, init=False, compare=False)
    last: int = field(default=-1, init=False, compare=False)

    def __post_init__(self) -> None:
        check_range(self, "window", 1)
        check_range(self, "temperature", 0.0, above=True)
        check_range(self, "alpha", 0.0, 1.0)
        check_choice(self, "rule", RULES)

    @property
    def separable(self) -> bool:
        return True

    def reward(self, rollouts: Rollouts, rewards: Tensor, context: Context) -> Tensor:
        table = self._table(rollouts)
        weights = self._weights(self._means(table, context))
        return combine_rewards(table, torch.tensor(weights, dtype=table.dtype, device=table.device))

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        table = self._table(rollouts)
        means = self._means(table, context)
        found = {f"mean_{k}": table.new_tensor(m) for k, m in enumerate(means) if math.isfinite(m)}
        found |= {f"weight_{k}": table.new_tensor(w) for k, w in enumerate(self._weights(means))}
        return found | {"batch": table.new_tensor(float(context.step))}

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        # Several optimiser steps take one generation batch, whose means count once.
        batch = round(metrics[f"{self.name}/batch"])
        if batch == self.last:
            return
        self.last = batch
        prefix = f"{self.name}/mean_"
        for key, value in metrics.items():
            if key.startswith(prefix):
                k = int(key.removeprefix(prefix))
                self.histories += [[] for _ in range(k + 1 - len(self.histories))]
                self.histories[k] = [*self.histories[k], value][-2 * self.window :]

    def state_dict(self) -> dict[str, Any]:
        return {"histories": [list(h) for h in self.histories], "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.histories = [[float(v) for v in h] for h in state["histories"]]
        self.last = int(state["last"])

    def _table(self, rollouts: Rollouts) -> Tensor:
        if rollouts.rewards is None:
            raise ValueError("recap: the engine handed over no table of rewards (Rollouts.rewards)")
        return rollouts.rewards

    @staticmethod
    def _means(table: Tensor, context: Context) -> list[float]:
        """Mean of each reward over the completions of all ranks that it applies to; NaN where there are none."""
        there = ~torch.isnan(table)
        sums = context.reduce(torch.stack([torch.where(there, table, 0.0).sum(0), there.sum(0).to(table.dtype)]))
        means: list[float] = (sums[0] / sums[1]).tolist()
        return means

    def _weights(self, means: Sequence[float]) -> list[float]:
        """With the present batch among the history."""
        names = [str(k) for k in range(len(means))]
        objectives = DynamicObjectiveWeights(
            names, window=self.window, temperature=self.temperature, alpha=self.alpha, rule=self.rule
        )
        for name, history in zip(names, self.histories, strict=False):
            for value in history:
                objectives.update({name: value})
        objectives.update(dict(zip(names, means, strict=True)))
        return list(objectives.weights().values())
