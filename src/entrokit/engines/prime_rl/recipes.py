"""Losses of prime-rl by recipe: every recipe string is a name here.

``import_path = "entrokit.engines.prime_rl.recipes.dapo"`` is ``loss_of("dapo")``, built when prime-rl imports it, at
the start of its trainer. prime-rl splits the path at its last dot: a recipe with a decimal point among its knobs goes
by `recipe_loss` or `loss_of`.
"""

from .losses import SequenceLoss, loss_of


def __getattr__(name: str) -> SequenceLoss:
    try:
        return loss_of(name)
    except ValueError as error:
        raise AttributeError(str(error)) from error
