"""Test functions in ten dimensions, and minimisers that get the same number of evaluations."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entrokit.search.cross_entropy import DiagonalGaussian, Gaussian, cross_entropy_minimize

DIMENSIONS, EVALUATIONS, DRAWS = 10, 10_000, 200
LIMIT, WIDTH = 5.0, 3.0
DIAGONAL, FULL, CMA, EVOLUTION = "CE, diagonal", "CE, full covariance", "CMA-ES", "differential evolution"

Objective = Callable[[Tensor], Tensor]


def objectives(seed: int) -> dict[str, Objective]:
    """Functions of ``[n, 10]`` whose least value is 0, at a point within ±2 that the seed draws."""
    g = torch.Generator().manual_seed(100 + seed)
    at = 4.0 * torch.rand(DIMENSIONS, generator=g, dtype=torch.float64) - 2.0

    def rosenbrock(x: Tensor) -> Tensor:
        z = x - at + 1.0
        return (100.0 * (z[:, 1:] - z[:, :-1].square()).square() + (1.0 - z[:, :-1]).square()).sum(1)

    return {
        "sphere": lambda x: (x - at).square().sum(1),
        "Rosenbrock": rosenbrock,
        "Rastrigin": lambda x: (10.0 + (x - at).square() - 10.0 * torch.cos(2.0 * math.pi * (x - at))).sum(1),
    }


def contestants() -> dict[str, Callable[[Objective, int], float]]:
    """Minimisers within ±5, by name: the best value that each sees in 10,000 evaluations, in its default settings."""
    start = torch.zeros(DIMENSIONS, dtype=torch.float64)
    wide = torch.full_like(start, WIDTH)
    return {
        DIAGONAL: lambda fn, seed: _by_sampling(fn, DiagonalGaussian(start, wide), seed),
        FULL: lambda fn, seed: _by_sampling(fn, Gaussian(start, WIDTH**2 * torch.eye(DIMENSIONS)), seed),
        CMA: _by_cma,
        EVOLUTION: _by_evolution,
    }


def _by_sampling(fn: Objective, sampler: DiagonalGaussian | Gaussian, seed: int) -> float:
    return cross_entropy_minimize(
        fn,
        sampler,
        generator=torch.Generator().manual_seed(seed),
        n=DRAWS,
        bounds=[(-LIMIT, LIMIT)] * DIMENSIONS,
        max_iter=EVALUATIONS // DRAWS,
    ).fun


def _by_cma(fn: Objective, seed: int) -> float:
    """With restarts of growing populations for as long as there are evaluations.

    Raises:
        RuntimeError: cma is not installed.
    """
    try:
        cma: Any = importlib.import_module("cma")
    except ImportError:
        raise RuntimeError("the peer is cma: pip install cma") from None
    counted = _Counted(fn)
    options = {"bounds": [-LIMIT, LIMIT], "seed": seed + 1, "verbose": -9, "maxfevals": EVALUATIONS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cma.fmin2(counted, DIMENSIONS * [0.0], WIDTH, options, restarts=9)
    return counted.best


def _by_evolution(fn: Objective, seed: int) -> float:
    from scipy.optimize import differential_evolution

    counted = _Counted(fn)
    people = 15 * DIMENSIONS
    rounds = EVALUATIONS // people - 1
    differential_evolution(
        counted, [(-LIMIT, LIMIT)] * DIMENSIONS, seed=seed, popsize=15, maxiter=rounds, tol=0.0, polish=False
    )
    return counted.best


class _Counted:
    """A function of one point that keeps the best of the first 10,000 values."""

    def __init__(self, fn: Objective) -> None:
        self.fn, self.calls, self.best = fn, 0, math.inf

    def __call__(self, x: np.ndarray[Any, Any]) -> float:
        self.calls += 1
        value = float(self.fn(torch.as_tensor(np.asarray(x), dtype=torch.float64)[None])[0])
        if self.calls <= EVALUATIONS:
            self.best = min(self.best, value)
        return value
