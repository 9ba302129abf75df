"""What entrokit registers with verl."""

from __future__ import annotations

from typing import Any

from entrokit.rlvr import BASES, INTERVENTIONS

PREFIX = "entrokit"

LOSS_MODES = (
    PREFIX,
    *(f"{PREFIX}-{name}" for name in INTERVENTIONS),
    *(f"{PREFIX}-{name.replace('_', '-')}" for name in BASES),
)


def register_losses(core: Any) -> None:
    """Policy losses and the advantage estimator, with verl's ``core_algos``."""
    from .advantages import recipe_advantages
    from .losses import recipe_policy_loss

    for mode in LOSS_MODES:
        core.register_policy_loss(mode)(recipe_policy_loss)
    if PREFIX not in core.ADV_ESTIMATOR_REGISTRY:
        core.register_adv_est(PREFIX)(recipe_advantages)


def register_worker(workers: Any) -> None:
    """The worker in which verl's actors train, with verl's ``engine_workers``."""
    from .worker import RecipeWorker

    workers.ActorRolloutRefWorker.actor_worker_cls = RecipeWorker
