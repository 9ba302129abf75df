"""What the checks of a recipe train on: a random batch of completions, and steps on it as an engine makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import Context, PolicyStats, Recipe, Rollouts, StepMeans, Totals

# Tokens are 0 to 3; whatever text a method binds (a closing marker) is the last of them.
VOCABULARY, MARKER = 4, 3
# Rows of a group follow one another.
GROUP = 4
_TOTAL_STEPS = 64


def random_batch(rows: int = 8, length: int = 6, seed: int = 0) -> Rollouts:
    """Completions of up to ``length`` tokens with every column that a method may ask for, float64.

    Environment tokens stand among the policy's, rows end in padding, and rewards are any numbers.
    """
    first, second = (torch.Generator().manual_seed(seed + offset) for offset in (0, 100))

    def rand(source: torch.Generator = first) -> Tensor:
        return torch.rand(rows, length, generator=source, dtype=torch.float64)

    lengths = torch.randint(1, length + 1, (rows,), generator=first)
    real = torch.arange(length) < lengths[:, None]
    stats = PolicyStats(
        logp=-2 * rand() - 0.05,
        entropy=2 * rand(),
        collision=rand(),
        weighted_surprise=-rand() / 3,
        varentropy=rand(),
        nucleus_entropy=rand(second),
    )
    return Rollouts(
        tokens=torch.randint(VOCABULARY, (rows, length), generator=second),
        real=real,
        trained=real & (rand() < 0.9),
        group=torch.arange(rows) // GROUP,
        reward=torch.randn(rows, generator=first, dtype=torch.float64),
        behaviour=stats.masked(real),
        rewards=torch.rand(rows, 2, generator=second, dtype=torch.float64),
        reference_logp=-rand(),
        correct=torch.rand(rows, generator=second) < 0.5,
        prompt_logp=-rand(second),
        prompt_mask=rand(second) < 0.8,
        prompt=torch.arange(rows)[:, None],
    )


def with_idle_row(batch: Rollouts) -> Rollouts:
    """The batch with a row of which nothing is trained on, as a truncated completion may be."""
    trained = batch.trained.clone()
    trained[2] = False
    return replace(batch, trained=trained)


def of_episodes(batch: Rollouts) -> Rollouts:
    """The batch as an engine hands over episodes: two rows each, turns numbered through both, calls of tools, rows that
    were cut off, and weights against the engine that sampled.
    """
    rows, generator = len(batch), torch.Generator().manual_seed(11)
    begun = batch.trained & ~torch.nn.functional.pad(batch.trained, (1, 0))[:, :-1]
    return replace(
        batch,
        trajectory=torch.arange(rows) // 2,
        turn=begun.long().cumsum(1) + batch.tokens.shape[1] * (torch.arange(rows) % 2)[:, None],
        tool_calls=torch.arange(rows) % 3,
        truncated=torch.arange(rows) % 4 == 1,
        sampler_weight=0.5 + torch.rand(batch.tokens.shape, generator=generator, dtype=torch.float64),
    )


def rows_of(batch: Rollouts, rows: Tensor) -> Rollouts:
    """Some rows, in the order given."""
    return Rollouts.from_columns({name: column[rows] for name, column in batch.columns().items()})


def perturbed(batch: Rollouts, seed: int = 1) -> dict[str, Tensor]:
    """Statistics of a policy that has moved on since it sampled: ratios in [0.5, 2]. By name, each ``[B, T]``."""
    generator = torch.Generator().manual_seed(seed)
    shift = (torch.rand(batch.tokens.shape, generator=generator, dtype=torch.float64) * 2 - 1) * 0.69
    values = {name: value.clone() for name, value in batch.behaviour.columns().items()}
    values["logp"] = (values["logp"] + shift).clamp(max=-1e-3)
    for name in ("entropy", "nucleus_entropy"):
        values[name] = values[name] * (1 + 0.1 * shift)
    return values


def context_of(step: int = 0) -> Context:
    """Of one process at a step of a run whose length is known."""
    return Context(step=step, total_steps=_TOTAL_STEPS, generator=torch.Generator().manual_seed(5 + step))


def totals_of(batch: Rollouts, ranks: int = 1) -> Totals:
    """What an engine divides an optimiser step by, on each of its ranks."""
    return Totals(tokens=batch.trained.sum() / ranks, rows=len(batch) / ranks, length=batch.tokens.shape[1])


@dataclass(frozen=True)
class Step:
    """What came out of one optimiser step.

    Attributes:
        loss: 0-dim. gradient: in every current statistic, by name, ``[B, T]``.
        metrics: as `StepMeans.take` gave them. state: the recipe's, afterwards.
        sampled: what its logits processors made of fixed logits before the step; None without any.
        advantages: ``[B, T]``. prepared: as `Recipe.prepare_step` gave it.
        replayed: columns, advantages and coefficient of what it asked to train on once more, by name.
    """

    loss: Tensor
    gradient: dict[str, Tensor]
    metrics: dict[str, float]
    state: dict[str, Any]
    advantages: Tensor
    prepared: dict[str, Tensor]
    sampled: Tensor | None = None
    replayed: dict[str, Tensor] = field(default_factory=dict)


def take_step(
    chosen: Recipe,
    batch: Rollouts,
    values: Mapping[str, Tensor],
    parts: int = 1,
    context: Context | None = None,
    totals: Totals | None = None,
) -> Step:
    """One optimiser step of training on a generation batch; the recipe remembers it.

    Args:
        values: current statistics, by name. parts: micro-batches, of rows as they stand.
        totals: what the step is divided by; the batch's own by default.
    """
    context = context or context_of()
    sampled = _sampled(chosen)
    rewarded = chosen.rewarded(batch, context)
    advantages, prepared = plan(chosen, batch, context, rewarded)
    loss, gradient, seen = _updated(chosen, batch, values, advantages, prepared, parts, totals)
    metrics = seen.take(context.reduce)
    if metrics:
        chosen.observe(metrics, context)
    replayed = _replayed(chosen, context)
    chosen.remember(rewarded, advantages, context)
    return Step(loss, gradient, metrics, chosen.state_dict(), advantages, prepared, sampled, replayed)


def evaluate(chosen: Recipe, batch: Rollouts, values: Mapping[str, Tensor], context: Context | None = None) -> Tensor:
    """The loss of a batch, as an evaluation computes it: nothing is shown to the recipe."""
    context = context or context_of()
    advantages, prepared = plan(chosen, batch, context)
    return _updated(chosen, batch, values, advantages, prepared, 1, None)[0]


def plan(
    chosen: Recipe, batch: Rollouts, context: Context, rewarded: Rollouts | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Advantages ``[B, T]`` of a generation batch, and what was prepared for the one step that takes all of it."""
    advantages = chosen.estimate(chosen.rewarded(batch, context) if rewarded is None else rewarded, context)
    prepared = chosen.prepare(batch, advantages, context)
    return advantages, chosen.prepare_step(batch, advantages, prepared, context)


def _updated(
    chosen: Recipe,
    batch: Rollouts,
    values: Mapping[str, Tensor],
    advantages: Tensor,
    prepared: Mapping[str, Tensor],
    parts: int,
    totals: Totals | None,
) -> tuple[Tensor, dict[str, Tensor], StepMeans]:
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    totals = totals_of(batch) if totals is None else totals
    total, seen = batch.behaviour.logp.new_zeros(()), StepMeans()
    for rows in torch.arange(len(batch)).chunk(parts):
        current = PolicyStats(**{name: leaf[rows] for name, leaf in leaves.items()})
        own = {key: value[rows] if value.dim() else value for key, value in prepared.items()}
        part = rows_of(batch, rows)
        result = chosen.loss(current, part, advantages[rows], own, totals)
        total = total + result.loss
        seen.add(result, current, part)
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    gradient = {
        name: torch.zeros_like(leaf) if own is None else own
        for (name, leaf), own in zip(leaves.items(), found, strict=True)
    }
    return total.detach(), gradient, seen


def _sampled(chosen: Recipe) -> Tensor | None:
    processors = chosen.decode()
    if not processors:
        return None
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(0))
    for processor in processors:
        logits = processor(torch.zeros(3, 1, dtype=torch.long), logits)
    return logits


def _replayed(chosen: Recipe, context: Context) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, replay in chosen.replay(context):
        columns = replay.rollouts.columns() | {"advantages": replay.advantages, "coef": torch.tensor(replay.coef)}
        found |= {f"{name}/{key}": value for key, value in columns.items()}
    return found
