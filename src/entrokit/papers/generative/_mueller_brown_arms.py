"""Energies trained on the Müller-Brown law, whole or by experts, with the penalty or without: samples, simulation."""

from __future__ import annotations

from functools import partial

import torch

from entrokit.generative.energy import EnergyScore, TimeExperts, force_of, langevin_simulate, sample_sde
from entrokit.generative.energy.simulate import Force

from . import _mueller_brown as mb
from ._energy_training import FIRST, SDE, Times, regularizer, started, trained

# The official strength, midpoints, ranges and networks; batch and rates are those of the toy.
STEPS, ALPHA, HIDDEN = 2500, 5e-4, (92, 92, 92)
TIMES = Times(midpoint=0.5)
# From low to high t: hidden layers, share of the steps, times that it answers for, and those that it is trained at.
EXPERTS = (
    ((64, 64, 64), 4 / 6, (0.0, 0.1), Times(FIRST, 0.099, 0.05, (0.0, 0.1))),
    ((64, 64), 1 / 6, (0.1, 0.6), Times(0.099, 0.6, 0.35, (0.099, 0.6))),
    ((54, 54), 1 / 6, (0.6, 1.0), Times(0.6, 1.0, 0.8, (0.6, 1.0))),
)
LATER = (FIRST, 0.002, 0.005, 0.01, 0.02, 0.05)
SAMPLES, SAMPLE_STEPS, CHAINS, CHAIN_STEPS, EVERY = 3000, 150, 200, 1500, 10
Measures = dict[str, float]


def mueller_brown_arms(seed: int) -> dict[str, Measures]:
    """By arms: divergences from the law of ``samples``, of ``simulation`` and of the ``energy``, and ``seconds``.

    ``plain, its best t`` is the plain energy at that of a few times whose energy is nearest to the law, which only
    somebody who knows the law can choose; ``exact`` has no model.
    """
    found: dict[str, Measures] = {}
    for arm, alpha in (("plain", 0.0), ("FP", ALPHA)):
        model, seconds = _whole(seed, alpha)
        found[arm] = {"seconds": seconds, "samples": _sampled(model, seed), **_simulated(model, seed, FIRST)}
        if arm == "plain":
            best = min(LATER, key=partial(_js_of_energy, model))
            found["plain, its best t"] = {"t": best, **_simulated(model, seed, best)}
    for arm, alpha in (("experts", 0.0), ("both", ALPHA)):
        shared, seconds = _by_experts(seed, alpha)
        found[arm] = {"seconds": seconds, "samples": _sampled(shared, seed), **_simulated(shared, seed, FIRST)}
    generator = torch.Generator().manual_seed(20_000 + seed)
    found["exact"] = {
        "samples": mb.js_of_samples(mb.draw(SAMPLES, generator)),
        "simulation": _js_of_chains(mb.force, seed),
    }
    return found


def _whole(seed: int, alpha: float) -> tuple[EnergyScore, float]:
    penalty = regularizer("shared", alpha, TIMES)
    return trained(started(HIDDEN, (0.0, 1.0), seed), mb.draw, STEPS, seed, penalty, TIMES)


def _by_experts(seed: int, alpha: float) -> tuple[TimeExperts, float]:
    """Each trained by itself; the penalty is that of the least noise alone."""
    models, spent = [], 0.0
    for hidden, share, (low, high), times in EXPERTS:
        penalty = regularizer("shared", alpha if low == 0 else 0.0, times)
        begun = started(hidden, (min(low, times.low), high), seed)
        model, seconds = trained(begun, mb.draw, round(share * STEPS), seed, penalty, times)
        models.append(model)
        spent += seconds
    return TimeExperts(models, [answers for _, _, answers, _ in EXPERTS]), spent


def _sampled(model: EnergyScore | TimeExperts, seed: int) -> float:
    generator = torch.Generator().manual_seed(10_000 + seed)
    noise = torch.randn(SAMPLES, 2, generator=generator)
    return mb.js_of_samples(sample_sde(model, noise, SDE, steps=SAMPLE_STEPS, generator=generator))


def _simulated(model: EnergyScore | TimeExperts, seed: int, t: float) -> Measures:
    return {
        "simulation": _js_of_chains(force_of(model, mb.KT, t), seed),
        "energy": _js_of_energy(model, t),
    }


def _js_of_energy(model: EnergyScore | TimeExperts, t: float) -> float:
    return mb.js_of_energy(lambda x: model.log_q(x, t))


def _js_of_chains(force: Force, seed: int) -> float:
    """Chains begin in the law; the second half of their steps counts, so that what pulls them out of it shows."""
    generator = torch.Generator().manual_seed(30_000 + seed)
    begin = mb.draw(CHAINS, generator)
    frames = langevin_simulate(
        force, begin, CHAIN_STEPS, mb.DT, mb.GAMMA, mb.KT, mb.MASS, every=EVERY, generator=generator
    )
    return mb.js_of_samples(frames[len(frames) // 2 :].flatten(0, 1))
