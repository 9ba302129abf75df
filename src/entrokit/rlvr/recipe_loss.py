"""The loss of a micro-batch: a surrogate, weighted and cut by interventions, aggregated; then their penalties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .aggregation import Totals, aggregate
from .intervention import Intervention, Penalty
from .kept import kept_totals
from .rollouts import Rollouts
from .stats import PolicyStats
from .surrogates import Clip, Surrogate
from .update import Update


@dataclass(frozen=True)
class RecipeLoss:
    """What `Recipe.loss` returns for a micro-batch; all tensors are 0-dim.

    Attributes:
        loss: to minimise. metrics: means over the micro-batch's trained tokens. tokens: how many those are.
        scalars: numbers of the batch as a whole that `Recipe.prepare` gave, alike in all of its micro-batches.

    `StepMeans` makes of these what `Recipe.observe` takes.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    tokens: Tensor
    scalars: dict[str, Tensor]


def loss_of(
    surrogate: Surrogate,
    interventions: Sequence[Intervention],
    aggregation: str,
    update: Update,
    sampler_weight: Tensor | None,
    totals: Totals,
) -> RecipeLoss:
    """See `Recipe.loss`; ``sampler_weight`` is that of the rollouts, ``[B, T]``."""
    prepared = update.prepared
    clip = _clip(surrogate, update)
    loss, keep = surrogate.loss(update), update.trained
    if sampler_weight is not None:
        loss = loss * torch.where(update.trained, sampler_weight, 0.0)
    metrics = {"clipped_fraction": update.mean(clip.silenced.float())}
    metrics |= {f"{surrogate.name}/{k}": v for k, v in clip.metrics.items()}
    for intervention in interventions:
        weighting = intervention.weight(update, clip, _own(intervention, prepared))
        if weighting.weight is not None:
            loss = loss * weighting.weight
        if weighting.keep is not None:
            keep = keep & weighting.keep
        metrics |= {f"{intervention.name}/{k}": v for k, v in (weighting.metrics or {}).items()}
    total = aggregate(loss, keep, aggregation, kept_totals(totals, prepared, keep, update.trained))
    undropped = Totals(
        update.trained.sum() if totals.tokens is None else totals.tokens,
        len(update.trained) if totals.rows is None else totals.rows,
        totals.length,
    )
    for intervention in interventions:
        added = intervention.penalty(update, _own(intervention, prepared))
        if added is not None:
            penalty = added if isinstance(added, Penalty) else Penalty(added)
            counted = update.trained if penalty.keep is None else update.trained & penalty.keep
            mode = penalty.aggregation or aggregation
            total = total + aggregate(penalty.loss, counted, mode, undropped)
            logged = update.mean(torch.where(counted, penalty.loss, 0.0))
            metrics[f"{intervention.name}/penalty"] = logged if penalty.logged is None else penalty.logged.detach()
    scalars = {name: value for name, value in prepared.items() if not value.dim()}
    return RecipeLoss(total, metrics, update.trained.sum(), scalars)


def kept_of(surrogate: Surrogate, interventions: Sequence[Intervention], update: Update) -> Tensor | None:
    """``[B, T]`` bool, the trained tokens that every intervention keeps; None where none has a say."""
    clip = _clip(surrogate, update)
    keeps = [i.weight(update, clip, _own(i, update.prepared)).keep for i in interventions]
    present = [k for k in keeps if k is not None]
    return torch.stack(present).all(0) & update.trained if present else None


def update_of(stats: PolicyStats, rollouts: Rollouts, advantages: Tensor, prepared: Mapping[str, Tensor]) -> Update:
    """What the stages see of these rows: zeros outside of what is trained."""
    train, reference, correct = rollouts.trained, rollouts.reference_logp, rollouts.correct
    return Update(
        current=stats.masked(train),
        behaviour=rollouts.behaviour.masked(train),
        advantages=torch.where(train, advantages, 0.0),
        trained=train,
        reference_logp=None if reference is None else torch.where(train, reference, 0.0),
        correct=None if correct is None else correct[:, None],
        prepared=_Prepared(prepared),
    )


def _clip(surrogate: Surrogate, update: Update) -> Clip:
    clip = surrogate.clip(update)
    return replace(clip, silenced=clip.silenced & update.trained)


class _Prepared(dict[str, Tensor]):
    """What was prepared, by name; what is missing is a `ValueError` that says how to get it."""

    def __missing__(self, key: str) -> Tensor:
        raise ValueError(
            f"Recipe.loss: {key!r} was not prepared; hand over what Recipe.prepare (and prepare_step) gave for the "
            "batch, or leave `prepared` out to take it over these rows alone"
        )


def _own(intervention: Intervention, prepared: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{intervention.name}/"
    return _Prepared({k.removeprefix(prefix): v for k, v in prepared.items() if k.startswith(prefix)})
