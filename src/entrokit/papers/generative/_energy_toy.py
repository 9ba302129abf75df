"""A toy of two modes of unequal mass: energies trained on it, and how far they are from its law."""

from __future__ import annotations

import statistics

import torch

from entrokit.distributions import jensen_shannon_divergence
from entrokit.generative.energy import EnergyScore, fp_residual
from entrokit.generative.mixtures import GaussianMixture

from ._energy_training import FIRST, SDE, Times, regularizer, started, trained

# An independent check of the same miniature has these.
STEPS, HIDDEN, ALPHA = 3000, (64, 64, 64), 1e-3
# How many times the steps, and the form of the penalty.
ARMS = {"plain": (1, None), "plain, twice as long": (2, None), "weak": (1, "weak"), "shared": (1, "shared")}
LAW = GaussianMixture(torch.tensor([0.2, 0.8]), torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), torch.ones(2))


def toy_arms(seed: int) -> dict[str, dict[str, float]]:
    """By arms: seconds of training, and what `measures` has."""
    found = {}
    for arm, (length, form) in ARMS.items():
        penalty = None if form is None else regularizer(form, ALPHA, Times())
        model, seconds = trained(started(HIDDEN, (0.0, 1.0), seed), LAW.sample, length * STEPS, seed, penalty)
        found[arm] = {"seconds": seconds, **measures(model, seed)}
    return found


@torch.no_grad()
def measures(model: EnergyScore, seed: int) -> dict[str, float]:
    """Of the normalised energy on a grid, the exact residual at noised points, and the score beside the exact one."""
    axis = torch.linspace(-10, 10, 161)
    grid = torch.cartesian_prod(axis, axis)
    own, truth = model.log_q(grid, FIRST).double(), LAW.log_prob(grid).double()
    generator = torch.Generator().manual_seed(10_000 + seed)
    t = 0.001 + 0.05 * torch.rand(2000, generator=generator)
    noise = torch.randn(2000, 2, generator=generator)
    x = SDE.alpha(t)[:, None] * LAW.sample(2000, generator) + SDE.sigma(t)[:, None] * noise
    errors = []
    for time in torch.linspace(0.01, 0.99, 50):
        alpha, sigma = float(SDE.alpha(time)), float(SDE.sigma(time))
        law = LAW.noised(alpha, sigma)
        at = law.sample(400, generator)
        errors.append(float((sigma * (model.score(at, time) - law.score(at))).square().mean()))
    return {
        "js": float(jensen_shannon_divergence(own, truth, from_logits=True)),
        "mass": float(own.softmax(0)[grid.sum(1) < 0].sum()),
        "squares": float(fp_residual(model, x, t, SDE).square().mean()),
        "error": statistics.fmean(errors),
    }
