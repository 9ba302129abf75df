"""Phantom medians by exhaustion and by chance: which keep an axiom, and how bad their worst profiles are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.choice.facility import fairness_report, grid_profiles, phantom_median, welfare_ratio

AXIOMS = ("proportional", "ufs", "pf")
# Vectors of phantoms at a time, in profiles of all of them together.
_CHUNK = 2**20


@dataclass(frozen=True)
class Searched:
    """Vectors of phantoms, ``[V, n-1]``.

    Attributes:
        keeps: by axiom, ``[V]``, no profile of the grid breaks it. worst: largest welfare ratio, ``[V]``.
    """

    phantoms: Tensor
    keeps: dict[str, Tensor]
    worst: Tensor


def profiles_of(n: int) -> Tensor:
    """All profiles out of 0, 1/n, ..., 1 and 1/2."""
    return grid_profiles(sorted({i / n for i in range(n + 1)} | {0.5}), n)


def every_phantom(n: int) -> Tensor:
    """All vectors out of 0, 1/2n, ..., 1."""
    return grid_profiles([i / (2 * n) for i in range(2 * n + 1)], n - 1)


def near_uniform(n: int, count: int, g: torch.Generator) -> Tensor:
    """Uniform phantoms, each moved by a tenth down to a ten-thousandth of the interval."""
    size = 10 ** (-1 - 3 * torch.rand(count, 1, generator=g, dtype=torch.float64))
    moved = size * (2 * torch.rand(count, n - 1, generator=g, dtype=torch.float64) - 1)
    uniform = torch.arange(1, n, dtype=torch.float64) / n
    return (uniform + moved).clamp(0, 1).sort(-1).values


def searched(n: int, phantoms: Tensor) -> Searched:
    """What each vector of phantoms keeps on `profiles_of` n."""
    x = profiles_of(n)
    keeps: dict[str, list[Tensor]] = {axiom: [] for axiom in ("ifs", *AXIOMS)}
    worst = []
    for part in torch.split(phantoms, max(1, _CHUNK // len(x))):
        every = x.expand(len(part), *x.shape)
        y = phantom_median(every, part[:, None])
        found = fairness_report(every, y)
        for axiom, own in keeps.items():
            own.append(getattr(found, axiom).all(-1))
        worst.append(welfare_ratio(every, y).amax(-1))
    return Searched(phantoms, {axiom: torch.cat(own) for axiom, own in keeps.items()}, torch.cat(worst))


def is_uniform(phantoms: Tensor) -> Tensor:
    """Which vectors ``[V, n-1]`` are 1/n, ..., (n-1)/n, ``[V]``."""
    n = phantoms.shape[-1] + 1
    return ((phantoms - torch.arange(1, n, dtype=torch.float64) / n).abs() < 1e-12).all(-1)
