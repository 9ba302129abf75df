"""A recipe's loss in one call, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from entrokit.distributions import TokenStatistics

from .advantages import GivenAdvantages
from .aggregation import Totals
from .context import Context
from .intervention import Intervention, implements
from .recipe import Recipe, RecipeLoss, recipe
from .rollouts import Rollouts
from .stats import PolicyStats

_SHAPES = {"tokens": "[B, T] int", "group": "[B] int", "reward": "[B] float"}


def policy_loss(
    spec: str | Recipe,
    *interventions: Intervention,
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    entropy: Tensor | None = None,
    statistics: Mapping[str, Tensor] | TokenStatistics | None = None,
    old_statistics: Mapping[str, Tensor] | TokenStatistics | None = None,
    totals: Totals | None = None,
    context: Context | None = None,
    **columns: Tensor,
) -> RecipeLoss:
    """The loss of a recipe on one batch, everything that is prepared for it included.

    ``policy_loss("grpo+clip-cov", logp=logp, old_logp=old_logp, advantages=A, mask=mask).loss.backward()``

    The recipe's base gives surrogate and aggregation; ``advantages`` stand in the place of its own, and interventions
    on advantages act upon them. Numbers that a method means over a generation batch are taken over these rows.

    Args:
        spec, interventions: as for `recipe`. Keep the `Recipe` where a method has a memory.
        logp: ``[B, T]``, log-probabilities of the chosen tokens (nats) under the policy being updated, with gradient.
        old_logp: ``[B, T]``, under the policy that sampled.
        advantages: ``[B, T]``, or ``[B]``: one a completion.
        mask: ``[B, T]`` bool (or 0 and 1), the tokens that the policy chose. Values elsewhere are not read.
        entropy: ``[B, T]`` nats, of the policy being updated, with gradient, where the recipe needs it.
        statistics: others that it needs (`Recipe.needs`), by name, ``[B, T]``, or what `token_statistics` gave.
        old_statistics: those of the policy that sampled; by default the current ones, which is what they are in the
            first update on a batch.
        totals: what the optimiser step as a whole is divided by, where this is one of its micro-batches.
        context: step, length of the run, draws and collectives, for methods with schedules or over several ranks.
        columns: further fields of `Rollouts` that the recipe asks for: ``group`` and ``reward`` ``[B]``, ``correct``
            ``[B]`` bool, ``tokens`` and ``reference_logp`` ``[B, T]``, ``sampler_weight`` ``[B, T]``, ...

    Raises:
        ValueError: a shape, or an argument that the recipe needs and that is missing; names it.
    """
    chosen = recipe(spec, *interventions)
    _refuse(chosen, kept=isinstance(spec, Recipe))
    for name, value in {"logp": logp, "old_logp": old_logp, "advantages": advantages, "mask": mask, **columns}.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"policy_loss: {name}: expected a tensor, got {type(value).__name__}")
    if logp.dim() != 2:
        raise ValueError(f"policy_loss: logp: expected shape [B, T], got {list(logp.shape)}")
    for name, value in (("old_logp", old_logp), ("mask", mask)):
        if value.shape != logp.shape:
            raise ValueError(
                f"policy_loss: {name}: expected the shape of logp, {list(logp.shape)}, got {list(value.shape)}"
            )
    if advantages.shape not in (logp.shape, logp.shape[:1]):
        raise ValueError(
            f"policy_loss: advantages: expected shape {list(logp.shape)} or [{logp.shape[0]}], got "
            f"{list(advantages.shape)}"
        )
    if mask.dtype != torch.bool and bool(((mask != 0) & (mask != 1)).any()):
        raise ValueError("policy_loss: mask: expected True and False, or 1 and 0")
    mask = mask.bool()
    given = advantages.detach()
    given = given if given.dim() == 2 else given[:, None].expand(logp.shape)
    for name, value in (("logp", logp), ("advantages", given)):
        if not bool(torch.isfinite(value.detach())[mask].all()):
            raise ValueError(f"policy_loss: {name}: is NaN or infinite at a token of the mask")
    current = _statistics("statistics", logp, entropy, statistics, mask)
    others = {name: value for name, value in current.columns().items() if name != "logp"}
    old = _statistics(
        "old_statistics", old_logp, None, others if old_statistics is None else old_statistics, mask
    ).detach()
    rollouts = _Given.of(mask, old, columns)
    context = context or Context()
    base = replace(chosen.base, advantage=GivenAdvantages(given))
    shaped = Recipe(chosen.base_part, base, chosen.interventions).estimate(rollouts, context)
    return chosen.loss(current, rollouts, shaped, totals=totals, context=context)


def _refuse(chosen: Recipe, *, kept: bool) -> None:
    """Methods that would do nothing: those that act on rewards, and a memory that nobody keeps."""
    for i in chosen.interventions:
        if not kept and any(implements(i, hook) for hook in ("observe", "remember")):
            raise ValueError(
                f"policy_loss: {i.name} remembers from step to step: build the recipe once, chosen = recipe(...), hand "
                "that over every time, and call chosen.observe (or chosen.remember) after every step"
            )
        if implements(i, "reward"):
            raise ValueError(
                f"policy_loss: {i.name} acts on rewards, before advantages are made of them: build Rollouts, and take "
                "the stages one by one: Recipe.rewarded, estimate, prepare, loss and remember"
            )


def _statistics(
    argument: str,
    logp: Tensor,
    entropy: Tensor | None,
    others: Mapping[str, Tensor] | TokenStatistics | None,
    mask: Tensor,
) -> PolicyStats:
    if isinstance(others, TokenStatistics):
        others = PolicyStats.of(others).columns()
    # Of which nucleus an entropy is, `needs` says behind an @.
    found = {name.partition("@")[0]: value for name, value in (others or {}).items()} | {"logp": logp}
    found |= {} if entropy is None else {"entropy": entropy}
    for name, value in found.items():
        if value.shape != mask.shape:
            raise ValueError(
                f"policy_loss: {argument}: {name!r} must have the shape of logp, {list(mask.shape)}, got "
                f"{list(value.shape)}"
            )
    try:
        return PolicyStats(**found).masked(mask)
    except TypeError:
        known = list(PolicyStats.__dataclass_fields__)
        unknown = next(name for name in found if name not in known)
        raise ValueError(
            f"policy_loss: {argument}: no statistic is called {unknown!r}; valid names are {known}"
        ) from None


@dataclass(frozen=True)
class _Given(Rollouts):
    """Rollouts of which only some fields were handed over; whoever reads another is told which argument is missing."""

    absent: frozenset[str] = field(default=frozenset(), kw_only=True)

    @classmethod
    def of(cls, mask: Tensor, old: PolicyStats, columns: Mapping[str, Tensor]) -> _Given:
        rows, device = len(mask), mask.device
        known = [f.name for f in fields(Rollouts) if f.name not in ("real", "trained", "behaviour")]
        for name in columns:
            if name not in known:
                raise ValueError(f"policy_loss: there is no argument {name!r}; further ones are {known}")
        stand_ins: dict[str, Tensor] = {
            "tokens": torch.zeros(mask.shape, dtype=torch.long, device=device),
            "group": torch.arange(rows, device=device),
            "reward": torch.zeros(rows, device=device),
        }
        # What lies between the policy's tokens is attended to; what comes after the last one does not matter.
        real = mask.flip(-1).cumsum(-1).flip(-1) > 0
        given: dict[str, Any] = {"real": real, **stand_ins, **columns}
        if "correct" in given:
            given["correct"] = given["correct"].bool()
        whole = cls(trained=mask, behaviour=old, **given)
        object.__setattr__(whole, "absent", frozenset(stand_ins) - set(columns))
        return whole

    def __getattribute__(self, name: str) -> Any:
        if name in _SHAPES and name in object.__getattribute__(self, "absent"):
            raise ValueError(f"policy_loss: this recipe needs the argument {name}= ({_SHAPES[name]})")
        return object.__getattribute__(self, name)
