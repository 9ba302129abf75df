"""The advantage estimator that entrokit registers with verl's driver."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import recipe
from entrokit.rlvr.intervention import implements

from .batch import bare_rollouts, group_ids


def recipe_advantages(
    token_level_rewards: Tensor, response_mask: Tensor, config: Any = None, index: Any = None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Advantages of a recipe's base: ``algorithm.adv_estimator=entrokit`` with ``+algorithm.recipe=<recipe>``.

    `RecipeWorker` computes the advantages of a whole recipe by itself; with this estimator verl's driver logs the same
    ones, where they follow from rewards alone.

    Args:
        token_level_rewards, response_mask: the generation batch, ``[B, T]``. index: verl's ``uid`` of each row.

    Returns:
        Advantages and returns, the same ``[B, T]`` tensor.

    Raises:
        ValueError: no recipe, or one whose advantages need statistics of the policy, which verl shows no estimator.
    """
    spec = None if config is None else config.get("recipe", None)
    if not spec:
        raise ValueError("algorithm.adv_estimator=entrokit needs a recipe: +algorithm.recipe=grpo (or another base)")
    chosen = recipe(spec)
    for i in chosen.interventions:
        if implements(i, "advantage") or implements(i, "reward"):
            raise ValueError(
                f"algorithm.adv_estimator=entrokit: {i.name} needs more than the rewards that verl shows an estimator; "
                "write algorithm.adv_estimator=grpo, and give the recipe to the loss (loss_mode=entrokit), whose "
                "workers compute its advantages"
            )
    train = response_mask.bool()
    rollouts = bare_rollouts(
        train,
        torch.zeros_like(token_level_rewards),
        reward=token_level_rewards.sum(-1),
        group=None if index is None else group_ids(index).to(train.device),
    )
    advantages = chosen.advantages(rollouts)
    return advantages, advantages
