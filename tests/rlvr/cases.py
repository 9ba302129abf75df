"""The random batch of `entrokit.testing`, and one optimiser step on it under a recipe."""

import copy

import torch

from entrokit.rlvr import recipe
from entrokit.testing.rollouts_trial import MARKER, perturbed, take_step
from entrokit.testing.rollouts_trial import random_batch as batch

__all__ = ["batch", "built", "perturbed", "run", "step"]


def built(spec):
    """A recipe whose closing marker is a token of the batch."""
    r = recipe(spec)
    r.bind(lambda text: [MARKER])
    return r


def step(r, b, values):
    """One optimiser step, on a copy of the recipe."""
    return take_step(copy.deepcopy(r), b, values)


def run(r, b, values):
    """Loss, and gradient in every statistic, ``[S, B, T]``, of one optimiser step."""
    taken = step(r, b, values)
    return taken.loss, torch.stack(list(taken.gradient.values()))
