"""prime-rl: recipes through its custom loss, ``[trainer.loss] type = "custom"``.

    import_path = "entrokit.engines.prime_rl.recipes.dapo"

`docs/prime-rl.md` has all three ways, and what prime-rl does to a loss. prime-rl itself need not be importable.
"""

from .contract import LossOutputs
from .losses import SequenceLoss, loss_of, recipe_loss

__all__ = ["LossOutputs", "SequenceLoss", "loss_of", "recipe_loss"]
