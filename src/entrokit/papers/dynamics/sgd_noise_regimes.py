"""Regimes of SGD: what its noise decides, on a perceptron that can be solved and on digits."""

from __future__ import annotations

from collections.abc import Iterator

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget
from . import _noise_digits, _noise_perceptron


def perceptron(budget: Budget) -> Iterator[Shown]:
    yield from _noise_perceptron.perceptron(budget)


def digits(budget: Budget) -> Iterator[Shown]:
    yield from _noise_digits.digits(budget)


def points(budget: Budget) -> Iterator[Shown]:
    yield from _noise_digits.points(budget)


PAPER = Paper(
    slug="sgd-noise-regimes",
    title="Dissecting the Effects of SGD Noise in Distinct Regimes of Deep Learning",
    arxiv="2301.13703",
    year=2023,
    family="dynamics",
    claim="Noise of SGD acts at the end of training, above a temperature that falls as a power of the training set.",
    names=(
        "entrokit.dynamics.noise.NoiseRegimeRunner",
        "entrokit.dynamics.noise.train_perceptrons",
        "entrokit.dynamics.noise.depleted_sign",
        "entrokit.dynamics.noise.PerceptronTheory",
        "entrokit.dynamics.noise.fit_power_law",
        "entrokit.dynamics.noise.critical_temperature",
        "entrokit.dynamics.noise.phase_diagram",
        "entrokit.dynamics.noise.gradient_noise_covariance",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.dynamics.noise import depleted_sign, train_perceptrons\n"
        "x, y = (v[None] for v in depleted_sign(32, 4, 1.0, torch.Generator()))\n"
        "runs = [train_perceptrons(x, y, alpha=1.0, temp=t, seeds=[0]) for t in (0.01, 0.1, 10)]\n"
        "print([run.w.norm() for run in runs])  # noise acts at the highest temperature alone"
    ),
    experiments={
        "perceptron": Experiment(
            perceptron,
            seeds=8,
            minutes=0.2,
            criterion="the informative weight does not depend on T below αT = 1 and grows with it above; slopes of "
            "signal and time in P lie in the bands about theory, and are steeper where points lie at the boundary",
        ),
        "digits": Experiment(
            digits,
            seeds=8,
            minutes=1.5,
            criterion="noise helps at some α and hurts at some; raising T and lowering α change test error with "
            "opposite signs; each by over 2 standard errors",
            needs=("information",),
        ),
        "points": Experiment(
            points,
            seeds=8,
            minutes=1.5,
            criterion="exponents of weights and time in T and P are above 0, T_c falls as a power of P, and its "
            "exponent is that of the weights' in P over that in T; by 2 standard errors",
            needs=("information",),
        ),
    },
)
