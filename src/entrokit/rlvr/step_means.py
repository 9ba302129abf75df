"""What loggers and controllers see of an optimiser step, alike however an engine cut it or spread it over ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from entrokit.groups import widest

from .recipe import RecipeLoss
from .rollouts import Rollouts
from .stats import PolicyStats


def metrics_of(
    result: RecipeLoss, current: PolicyStats | None = None, rollouts: Rollouts | None = None
) -> dict[str, Tensor]:
    """Means over a micro-batch's trained tokens, 0-dim: the recipe's, and what every log holds, under TRL's names.

    Args:
        result: what `Recipe.loss` gave for these rows. current, rollouts: what it was made of, for the next two.

    Returns:
        ``entropy`` (nats; where it was computed), ``kl`` (the k3 estimate against the reference; where there is one),
        ``clip_ratio/region_mean`` (share of tokens that the clip silences) and the recipe's own.
    """
    means = dict(result.metrics)
    means["clip_ratio/region_mean"] = means.pop("clipped_fraction")
    if current is None or rollouts is None:
        return means
    count = rollouts.trained.sum().clamp(min=1)
    if current.entropy is not None:
        entropy = current.entropy.detach()
        means["entropy"] = torch.where(rollouts.trained, entropy, 0.0).to(widest(entropy)).sum() / count
    if rollouts.reference_logp is not None:
        d = torch.where(rollouts.trained, rollouts.reference_logp - current.logp.detach(), 0.0)
        means["kl"] = (d.exp() - d - 1.0).to(widest(d)).sum() / count
    return means


@dataclass
class StepMeans:
    """Gathers the micro-batches of an optimiser step.

    Means weigh every trained token alike: a micro-batch without one says nothing. Numbers of the batch as a whole
    (`RecipeLoss.scalars`) stay as they are; where a step spans several generation batches, they are averaged.
    """

    _sums: dict[str, Tensor] = field(default_factory=dict)
    _tokens: Tensor | None = None
    _scalars: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, result: RecipeLoss, current: PolicyStats | None = None, rollouts: Rollouts | None = None) -> None:
        """Takes a micro-batch in; arguments as `metrics_of`, alike for all micro-batches of a step."""
        for name, mean in metrics_of(result, current, rollouts).items():
            total = mean.detach().to(widest(mean)) * result.tokens
            self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._tokens = result.tokens if self._tokens is None else self._tokens + result.tokens
        for name, value in result.scalars.items():
            self._scalars.setdefault(name, []).append(value.detach())

    def take(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """The step's numbers over all ranks, and starts anew; empty where nothing was trained on.

        Args:
            reduce: sums a tensor over ranks, as `Context.reduce`; every rank must call.
        """
        sums, tokens, scalars = self._sums, self._tokens, self._scalars
        self._sums, self._tokens, self._scalars = {}, None, {}
        if tokens is None:
            return {}
        own = torch.stack([*sums.values(), tokens.to(next(iter(sums.values())))])
        *totals, count = (own if reduce is None else reduce(own)).tolist()
        if not count:
            return {}
        means = {name: total / count for name, total in zip(sums, totals, strict=True)}
        return means | {name: _common(torch.stack(values).tolist()) for name, values in scalars.items()}


def _common(values: list[float]) -> float:
    """The value that all share, to the bit; their mean otherwise."""
    return values[0] if len(set(values)) == 1 else math.fsum(values) / len(values)
