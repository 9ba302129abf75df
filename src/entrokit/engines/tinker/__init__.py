"""Tinker: a recipe as the function that `TrainingClient.forward_backward_custom` takes.

    recipe = TinkerRecipe("grpo+kl-cov(ratio=0.02)")
    data = recipe.data(trajectory_groups)
    future = training_client.forward_backward_custom(data, recipe.loss)

`docs/tinker.md` has the whole loop. The cookbook is not imported: its trajectory groups are read by their attributes.
"""

from ..versions import require

require("tinker")

from .recipe import TinkerRecipe

__all__ = ["TinkerRecipe"]
