"""A recipe as a custom loss of prime-rl: one sequence in, the sum over its tokens out.

prime-rl adds up what the calls of an optimiser step return, over all ranks, and divides once by the number of tokens
that train. That is a recipe's ``token-mean``, exactly, however the step was cut.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import Intervention, Recipe, Totals, policy_loss
from entrokit.rlvr import recipe as build_recipe
from entrokit.rlvr.advantages import DrGRPOAdvantage
from entrokit.rlvr.intervention import implements
from entrokit.rlvr.kept import TOKENS

from .contract import outputs_class, sequence_of
from .refusals import AGGREGATION, refuse

_PREFIX = "recipe/"


@dataclass(frozen=True)
class SequenceLoss:
    """A recipe's loss under prime-rl's contract. Build it with `loss_of`, which refuses what cannot be carried."""

    recipe: Recipe

    def __call__(self, inputs: Any) -> Any:
        """The loss of one sequence.

        Args:
            inputs: prime-rl's `LossInputs`; every field ``[seq]``. Advantages are the orchestrator's, and the policy
                that sampled is the inference engine (``inference_logprobs``).

        Returns:
            prime-rl's `LossOutputs`: the sum over the tokens of ``loss_mask``, 0-dim, and the recipe's metrics as means
            over them, under ``recipe/``. A sequence without such tokens has loss 0, with a graph, and no metrics.

        Raises:
            ValueError: a field that is missing, of another shape, or not finite at a token of the mask.
        """
        sequence = sequence_of(inputs)
        if sequence is None:
            empty: Tensor = inputs.trainer_logprobs[inputs.loss_mask].sum()
            return outputs_class()(loss=empty, metrics={})
        columns: dict[str, Any] = {}
        if sequence.weight is not None:
            if penalising := [i.name for i in self.recipe.interventions if implements(i, "penalty")]:
                raise ValueError(
                    f"LossInputs.loss_weights: not 1 everywhere, and {penalising[0]} adds a loss of its own that such "
                    "weights cannot reach: take an algorithm without rl_weights, or leave it out"
                )
            columns["sampler_weight"] = sequence.weight
        result = policy_loss(
            self.recipe,
            logp=sequence.logp,
            old_logp=sequence.old_logp,
            advantages=sequence.advantages,
            mask=sequence.trained,
            totals=Totals(tokens=1.0),
            **columns,
        )
        if TOKENS in result.scalars:
            raise ValueError(
                "it keeps only some tokens and divides by how many of the step's those are, which one sequence cannot "
                "know; give the others a weight of 0, which leaves the denominator as it is"
            )
        metrics = {_PREFIX + name: value.detach().float() for name, value in result.metrics.items()}
        return outputs_class()(loss=result.loss, metrics=metrics)


def loss_of(spec: str | Recipe, *interventions: Intervention, aggregation: str | None = None) -> SequenceLoss:
    """The custom loss of a recipe, for a module of one's own that prime-rl imports at its start.

    ``loss = loss_of("dapo(clip_high=0.3)")`` in ``my_loss.py``, and ``import_path = "my_loss.loss"``.

    Args:
        spec, interventions: as for `recipe`. The base gives surrogate and aggregation; advantages are prime-rl's.
        aggregation: ``token-mean`` has a base of another aggregation taken as prime-rl divides; None leaves the base's.

    Raises:
        ValueError: a recipe of which prime-rl cannot carry a part; names it, and what to write instead.
    """
    chosen = build_recipe(spec, *interventions)
    if aggregation not in (None, AGGREGATION):
        raise ValueError(f"aggregation must be '{AGGREGATION}', which is how prime-rl divides, got {aggregation!r}")
    if aggregation is not None:
        chosen = replace(chosen, base=replace(chosen.base, aggregation=aggregation))
    refuse(chosen)
    loss = SequenceLoss(chosen)
    _try(loss)
    if not isinstance(chosen.base.advantage, DrGRPOAdvantage):
        warnings.warn(
            f"recipe '{chosen}': advantages are those of prime-rl's [orchestrator.algo] (type = \"grpo\": reward minus "
            f"the group's mean), not the base's own ({chosen.base.advantage.name})",
            stacklevel=2,
        )
    return loss


def recipe_loss(inputs: Any, *, recipe: str, aggregation: str | None = None) -> Any:
    """The custom loss of prime-rl whose ``kwargs`` hold a recipe, with knobs.

    prime-rl imports it at the start, but hands over ``kwargs`` with the first sequence: what cannot be carried is
    refused then, before the first update. `loss_of`, and `entrokit.engines.prime_rl.recipes`, refuse at the start.

    Args:
        inputs: as `SequenceLoss` takes them. recipe: a recipe string. aggregation: as for `loss_of`.

    Raises:
        ValueError: as `loss_of` and `SequenceLoss`.
    """
    if not isinstance(recipe, str):
        raise ValueError(f"kwargs.recipe must be a recipe string such as 'dapo', got {type(recipe).__name__}")
    if aggregation is not None and not isinstance(aggregation, str):
        raise ValueError(f"kwargs.aggregation must be '{AGGREGATION}' or left out, got {type(aggregation).__name__}")
    return _built(recipe, aggregation)(inputs)


@cache
def _built(recipe: str, aggregation: str | None) -> SequenceLoss:
    return loss_of(recipe, aggregation=aggregation)


def _try(loss: SequenceLoss) -> None:
    """Runs a loss on a made-up sequence: a method that reads what prime-rl does not hand over is found at the start."""
    logp = torch.linspace(-2.0, -0.2, 6)
    for sign in (1.0, -1.0):
        made_up = SimpleNamespace(
            trainer_logprobs=logp.clone().requires_grad_(),
            inference_logprobs=logp - torch.linspace(-0.4, 0.4, 6),
            advantages=torch.full((6,), sign),
            loss_mask=torch.tensor([False, True, True, False, True, True]),
            loss_weights=None,
        )
        try:
            value = loss(made_up).loss
        except ValueError as error:
            raise ValueError(f"prime-rl cannot carry recipe '{loss.recipe}': {error}") from error
        if value.dim() or not bool(torch.isfinite(value)):
            raise ValueError(f"prime-rl cannot carry recipe '{loss.recipe}': its loss of a made-up sequence is {value}")
