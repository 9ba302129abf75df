"""verl: recipes through verl's own registries, loaded by `import verl` itself (entry points of `verl.plugins`).

    actor_rollout_ref.actor.policy_loss.loss_mode=entrokit-steer

`docs/verl.md` has the whole route, with knobs. Importing this package registers everything, and costs next to nothing:
verl's modules are not imported before verl itself needs them.
"""

from importlib import import_module
from typing import Any

from ..versions import require
from .names import WORKERS
from .plugin import register

require("verl")
register()

_WHERE = {
    "LOSS_MODES": "registrations",
    "RecipePolicyLossConfig": "config",
    "RecipeWorker": "worker",
    "recipe_advantages": "advantages",
    "recipe_of": "config",
    "recipe_policy_loss": "losses",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "RecipeWorker":
        # It derives from a class there, at whose import it is registered: the other way round would be a circle.
        import_module(WORKERS)
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
