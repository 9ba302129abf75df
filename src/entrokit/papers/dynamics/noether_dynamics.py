"""Noether's Learning Dynamics: norms that a symmetry predicts, and the optimizer that they make of SGD."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._noether_worlds import (
    EQUATION,
    EXACT,
    LASTING,
    NOISE,
    STEPS,
    STILL,
    TURNS,
    Angles,
    digits,
    lasting,
    noise,
    norms,
)

SMALL, LARGE = 0.001, 0.03
RATES = (SMALL, 0.01, LARGE)


def miniature(budget: Budget) -> Iterator[Shown]:
    runs = [norms(seed) for seed in budget.seeds]
    yield _norms(runs)
    mean = {name: np.mean([run[name].mean(1).numpy() for run in runs], 0) for name in runs[0]}
    lines = tuple(
        Series(name, list(range(0, STEPS + 1, 5)), mean[name][::5].tolist())
        for name in (EQUATION, STILL, LASTING, NOISE)
    )
    dots = Series("run", list(range(0, STEPS + 1, 20)), mean["run"][::20].tolist(), marks=True)
    yield Chart("Squared norm of a row before BatchNorm", "step", "mean |q|² over rows and seeds", (*lines, dots))
    turns = [lasting(seed) for seed in budget.seeds]
    noises = [noise(seed) for seed in budget.seeds]
    yield _sphere(turns, noises)
    at = list(range(0, TURNS, 100))
    yield Chart(
        "Turn a step of weights without a scale, first seed",
        "step",
        "angle (rad)",
        tuple(Series(name, at, turns[0][name][::100].tolist()) for name in turns[0]),
    )


def frozen_norms(budget: Budget) -> Iterator[Shown]:
    accuracy = {
        frozen: np.array([[digits(seed, lr, frozen=frozen) for lr in RATES] for seed in budget.seeds])
        for frozen in (False, True)
    }
    lead = 100 * (accuracy[False] - accuracy[True])
    small, large = (lead[:, RATES.index(lr)] for lr in (SMALL, LARGE))
    yield Finding(
        "Norms that are free are worth nothing at small learning rates and test accuracy at large ones.",
        "convolutions with BatchNorm on digits, momentum 0.9: freezing norms loses at most 0.5 points of test accuracy "
        "in the mean at a rate of 0.001, and more than 0.5 points at 0.03, in at least 7 of 8 seeds some",
        f"lost by freezing at {SMALL}: {small.mean():+.2f} ± {small.std(ddof=1):.2f} points; at {LARGE}: "
        f"{large.mean():+.2f} ± {large.std(ddof=1):.2f}, some in {(large > 0).sum()} of {len(large)} seeds",
        bool(small.mean() <= 0.5 and large.mean() > 0.5 and (large > 0).mean() >= 7 / 8),
        "paper, VGG-11 on Tiny ImageNet: no loss at about 0.001, a clear one at about 0.03 (figures alone)",
        {
            f"{'frozen' if frozen else 'free'} at {lr}": accuracy[frozen][:, i].tolist()
            for frozen in accuracy
            for i, lr in enumerate(RATES)
        },
    )
    yield Chart(
        "Test accuracy on digits after 20 epochs, norms free and frozen",
        "learning rate",
        "accuracy (%)",
        tuple(
            Series(
                f"{'frozen' if frozen else 'free'} norms",
                [str(lr) for lr in RATES],
                (100 * found.mean(0)).tolist(),
                low=(100 * found.min(0)).tolist(),
                high=(100 * found.max(0)).tolist(),
            )
            for frozen, found in accuracy.items()
        ),
    )


def _norms(runs: list[dict[str, Tensor]]) -> Finding:
    off = {
        name: np.array([float((run[name][-1] / run["run"][-1] - 1).abs().max()) for run in runs])
        for name in (EXACT, EQUATION, STILL, LASTING, NOISE)
    }
    return Finding(
        "The law of a broken symmetry predicts weight norms from velocities; without the kinetic term it does not.",
        "Linear-BatchNorm-ReLU-Linear, 300 steps, every seed: after the last step the worst row is within 0.1 % by the "
        "paper's equation, and off by more than 20 % with its kinetic term left out",
        "; ".join(f"{name}: {v.mean():.2g} (largest {v.max():.2g})" for name, v in off.items()),
        bool((off[EQUATION] < 1e-3).all() and (off[STILL] > 0.2).all()),
        "independent check: 7e-5 to 1e-4, without kinetic term 0.9",
        {f"worst row, {name}": v.tolist() for name, v in off.items()},
    )


def _sphere(turns: list[dict[str, Angles]], noises: list[dict[str, float]]) -> Finding:
    settled = slice(100, None)
    off = np.array([float(np.abs(t["RMSProp on the circle"] / t["SGD"] - 1)[settled].max()) for t in turns])
    fixed = np.array([float(abs(t["SGD at a fixed length"].sum() / t["SGD"].sum() - 1)) for t in turns])
    by = {name: np.array([ratios[name] for ratios in noises]) for name in (LASTING, NOISE)}
    return Finding(
        "SGD with momentum and weight decay on weights without a scale is RMSProp on the sphere.",
        "every seed: a lasting gradient turns SGD and RMSProp alike within 2 % in every step after the first 100; "
        "under noise their mean angular rates agree within 5 % with the constants for noise, and differ by a factor of "
        "more than 2 with the paper's",
        f"lasting: worst step {off.mean():.2g} (largest {off.max():.2g}), whole angle at fixed length off by "
        f"{fixed.mean():.2g} (least {fixed.min():.2g}); noise: ratio {by[NOISE].mean():.3f} "
        f"({by[NOISE].min():.3f} to {by[NOISE].max():.3f}), with the paper's constants {by[LASTING].mean():.3f}",
        bool((off < 0.02).all() and (np.abs(by[NOISE] - 1) < 0.05).all() and (np.abs(np.log2(by[LASTING])) > 1).all()),
        "",
        {
            "worst step, lasting gradient": off.tolist(),
            "whole angle at fixed length": fixed.tolist(),
            "rate under noise over SGD's, constants for noise": by[NOISE].tolist(),
            "rate under noise over SGD's, constants of the paper": by[LASTING].tolist(),
        },
    )


PAPER = Paper(
    slug="noether-dynamics",
    title="Noether's Learning Dynamics: Role of Symmetry Breaking in Neural Networks",
    arxiv="2105.02716",
    year=2021,
    family="dynamics",
    claim="Symmetries of the loss that SGD's kinetic energy breaks give laws of motion for weight norms.",
    names=(
        "entrokit.dynamics.noether.NoetherMonitor",
        "entrokit.dynamics.noether.find_symmetries",
        "entrokit.dynamics.noether.check_symmetry",
        "entrokit.dynamics.noether.predict_norm_sq",
        "entrokit.dynamics.noether.predict_norm_sq_from_velocity",
        "entrokit.dynamics.noether.equivalent_rmsprop",
        "entrokit.dynamics.noether.noether_callback",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.dynamics.noether import equivalent_rmsprop, predict_norm_sq\n"
        'sgd = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}\n'
        "print(predict_norm_sq(torch.tensor(4.0), torch.full((2000,), 0.01), **sgd)[::500])\n"
        "print(equivalent_rmsprop(**sgd))  # what SGD is on weights whose scale does not matter"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.5,
            criterion="in every seed norms before BatchNorm follow from velocities within 0.1 %, and are 20 % off "
            "without the kinetic term; steps on the sphere are RMSProp's within 2 %, in noise within 5 %",
        ),
        "frozen-norms": Experiment(
            frozen_norms,
            seeds=8,
            minutes=2.5,
            criterion="on digits freezing the norms of filters loses at most 0.5 points at a learning rate of 0.001, "
            "and more than 0.5 at 0.03, some in 7 of 8 seeds",
            needs=("information",),
        ),
    },
)
