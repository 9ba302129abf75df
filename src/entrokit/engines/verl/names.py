"""What verl's modules are called, and how our losses are called there."""

CORE, WORKERS = "verl.trainer.ppo.core_algos", "verl.workers.engine_workers"

PREFIX = "entrokit"
"""Of ``loss_mode`` and of the advantage estimator."""
