"""What entrokit registers with verl."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from entrokit.rlvr import BASES, INTERVENTIONS

from .names import CORE, PREFIX, WORKERS

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


def check() -> None:
    """Imports what verl's trainers import.

    Raises:
        RuntimeError: verl does not train through what was registered; says what is missing.
    """
    core, workers = import_module(CORE), import_module(WORKERS)
    missing = [mode for mode in LOSS_MODES if mode not in core.POLICY_LOSS_REGISTRY]
    if missing:
        raise RuntimeError(f"loss modes that verl does not know: {', '.join(missing)}")
    if PREFIX not in core.ADV_ESTIMATOR_REGISTRY:
        raise RuntimeError(f"verl does not know the advantage estimator {PREFIX}")
    trains = workers.ActorRolloutRefWorker.actor_worker_cls
    if trains.__module__ != "entrokit.engines.verl.worker":
        raise RuntimeError(f"verl's actors train through {trains.__module__}.{trains.__qualname__}")
