"""The policy losses that entrokit registers with verl.

verl's own `ppo_loss` calls them with the log-probabilities of one micro-batch. `RecipeWorker` hands over the rest (the
whole batch's columns, and current entropies) for the time of the call; without it they see what verl shows any loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import Context, PolicyStats, Recipe, StepMeans, Totals
from entrokit.rlvr.intervention import ScopedIntervention, implements

from .batch import attached, bare_rollouts
from .config import recipe_of


@dataclass
class MicroBatch:
    """What a worker hands over to the loss of a micro-batch.

    Attributes:
        recipe: of this batch. data: the micro-batch. entropy: of the current policy, ``[b, T]`` with gradient, or None.
        scalars: prepared numbers of the whole batch. metrics_by_tokens: receives the micro-batch's numbers.
    """

    recipe: Recipe
    data: Any
    entropy: Tensor | None
    scalars: Mapping[str, Tensor]
    metrics_by_tokens: StepMeans


_IN_FORCE: ContextVar[MicroBatch | None] = ContextVar("entrokit_verl_micro_batch", default=None)


@contextmanager
def micro_batch_in_force(micro_batch: MicroBatch) -> Iterator[None]:
    """For the time of verl's call of its loss."""
    token = _IN_FORCE.set(micro_batch)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def recipe_policy_loss(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """A recipe's loss under verl's contract for policy losses.

    Args:
        old_log_prob, log_prob, advantages, response_mask: one micro-batch, ``[b, T]``.
        config: verl's `ActorConfig`; `recipe_of` reads the recipe from it.
        rollout_is_weights: ``[b, T]`` or None, multiplies the policy loss.

    Returns:
        The loss, normalised as verl's `agg_loss` does it, and metrics.

    Raises:
        ValueError: a recipe that needs more than verl hands to a policy loss, where no `RecipeWorker` trains.
    """
    micro_batch = _IN_FORCE.get()
    train = response_mask.bool()
    if micro_batch is not None:
        chosen = micro_batch.recipe
        rollouts, advantages, prepared = attached(micro_batch.data, log_prob.shape[1])
        prepared |= dict(micro_batch.scalars)
        current = PolicyStats(logp=log_prob, entropy=micro_batch.entropy)
    else:
        chosen = _of_a_micro_batch(config)
        rollouts = bare_rollouts(train, old_log_prob, weight=rollout_is_weights)
        prepared = chosen.prepare(rollouts, advantages, Context(generator=torch.Generator().manual_seed(0)))
        current = PolicyStats(logp=log_prob)
    result = chosen.loss(current, rollouts, advantages, prepared, _totals(config.global_batch_info))
    metrics = result.metrics | result.scalars
    clipped = metrics.pop("clipped_fraction")
    if micro_batch is not None:
        micro_batch.metrics_by_tokens.add(result, current, rollouts)
    drift = torch.where(rollouts.trained, rollouts.behaviour.logp - log_prob.detach(), 0.0)
    drift = drift.sum() / rollouts.trained.sum().clamp(min=1)
    named = {
        "actor/pg_clipfrac": clipped,
        "actor/ppo_kl": drift,
        **{f"actor/{name}": value for name, value in metrics.items()},
    }
    return result.loss, {name: float(value) for name, value in named.items()}


def _totals(info: Mapping[str, Any]) -> Totals:
    """verl's normalisers: the mini-batch's tokens and rows over all ranks, whose gradients are then averaged."""
    ranks = info.get("dp_size") or 1
    tokens, rows = info.get("batch_num_tokens"), info.get("global_batch_size")
    return Totals(
        tokens=None if tokens is None else tokens / ranks,
        rows=None if rows is None else rows / ranks,
        length=info.get("loss_scale_factor"),
    )


def _of_a_micro_batch(config: Any) -> Recipe:
    chosen = recipe_of(config)
    if chosen is None:
        raise ValueError(f"loss_mode={config.policy_loss.loss_mode} is not one of entrokit's")
    for i in chosen.interventions:
        if i.needs - {"logp"} or implements(i, "advantage") or implements(i, "reward"):
            raise ValueError(
                f"{i.name} needs more than verl hands to a policy loss (entropies, rewards, the whole batch), and this "
                "process does not train through entrokit.engines.verl.RecipeWorker; see `entrokit doctor`"
            )
    scoped = (i.narrowed() if isinstance(i, ScopedIntervention) else i for i in chosen.interventions)
    return replace(chosen, interventions=tuple(scoped))
