"""Who can game a rule: an adversary that looks for misreports which pay, of any rule that a user gives.

A rule is strategyproof where no agent gets the outcome nearer to itself by a report that is not the truth. The
adversary can show that a rule is not, by a witness; what it does not find is no proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .deviations import Gains, best_deviations
from .reports import Mechanism, ReportsLike, apply, check_interval, profiles, whole_number


@dataclass(frozen=True)
class Manipulation:
    """One profile in which one agent gains by a misreport; the outcome goes from ``truthful`` to ``gamed``."""

    profile: tuple[float, ...]
    agent: int
    report: float
    truthful: float
    gamed: float

    @property
    def gain(self) -> float:
        place = self.profile[self.agent]
        return abs(place - self.truthful) - abs(place - self.gamed)

    def __str__(self) -> str:
        profile = ", ".join(f"{place:.6g}" for place in self.profile)
        return (
            f"agent {self.agent} of ({profile}) reports {self.report:.6g} instead of {self.profile[self.agent]:.6g}: "
            f"the outcome goes from {self.truthful:.6g} to {self.gamed:.6g}, nearer by {self.gain:.3g}"
        )


def per_profile(function: Callable[[NDArray[np.float64]], Any]) -> Mechanism:
    """A mechanism out of a function of one profile, an array ``[n]``, such as ``numpy.median``; called row by row.

    Raises:
        TypeError: no function; from the mechanism, where the function gives no number.
    """
    if not callable(function):
        raise TypeError(f"per_profile: expected a function of one profile, got {function!r}")

    def mechanism(reports: Tensor) -> Tensor:
        rows = reports.reshape(-1, reports.shape[-1]).double().cpu().numpy()
        found = torch.tensor([_number(function(row.copy()), row) for row in rows], dtype=torch.float64)
        return found.reshape(reports.shape[:-1]).to(reports.device)

    return mechanism


@torch.no_grad()
def manipulability(mechanism: Mechanism, x: ReportsLike, *, lo: float = 0.0, hi: float = 1.0) -> Gains:
    """The best misreport of any agent in profiles ``x [..., n]`` who really are there. In float64.

    Every agent tries both ends, all reports, the outcome, its own place mirrored at the outcome, and an even grid, then
    looks ever closer around the best. A gain is real; where a rule jumps, a larger one may be missed.

    Raises:
        ReportError: locations that are NaN or outside of the interval. ValueError: outcomes that are not finite or not
            one a profile. TypeError: no mechanism, or one that gives no tensor.
    """
    given = profiles(x, lo, hi)
    places = given.reports.double()
    flat = places.reshape(-1, given.size)
    gain, agent, report = (own.reshape(places.shape[:-1]) for own in best_deviations(mechanism, flat, flat, lo, hi))
    return Gains(gain, agent, report)


@torch.no_grad()
def find_manipulation(
    mechanism: Mechanism,
    n: int,
    *,
    lo: float = 0.0,
    hi: float = 1.0,
    tol: float = 1e-9,
    profiles: int = 256,
    rounds: int = 8,
    generator: torch.Generator | None = None,
) -> Manipulation | None:
    """Looks for a profile of n agents in which one of them gains by a misreport; None where it finds none.

    ``assert find_manipulation(rule, n=5) is None`` is a test of a rule. Profiles begin even, tied, in two groups and
    crowded; those with the largest gains are changed a little and tried again. Not seeing a gain is no proof.

    Args:
        mechanism: takes reports ``[..., n]``, gives ``[...]``; deterministic. `per_profile` makes one of a plain
            function. tol: a gain up to this share of the interval is rounding.
        profiles: a round. rounds: of search; it stops at the end of one that found a gain.
        generator: of the profiles; by default a new one with seed 0, so that an answer can be had again.

    Raises:
        ValueError: fewer than one agent, profile or round, no interval, outcomes that are not finite or not one a
            profile, or that differ when the witness is tried alone: a rule that is random or looks at other profiles;
            a negative ``tol``.
        TypeError: no mechanism, or one that gives no tensor; a count that is not whole; another generator than torch's.
    """
    check_interval(lo, hi)
    n, profiles, rounds = (
        whole_number(value, f"find_manipulation: {what}")
        for value, what in ((n, "n"), (profiles, "profiles"), (rounds, "rounds"))
    )
    if not tol >= 0:
        raise ValueError(f"find_manipulation: tol must be at least 0, got {tol}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            "find_manipulation: generator must be a torch.Generator, as torch.Generator().manual_seed(0) is, or None; "
            f"got {generator!r}"
        )
    g = generator if generator is not None else torch.Generator().manual_seed(0)
    places = lo + (hi - lo) * _first_profiles(profiles, n, g)
    for _ in range(rounds):
        found = manipulability(mechanism, places, lo=lo, hi=hi)
        best = int(found.gain.argmax())
        gain, agent, report = (own[best].item() for own in found)
        if gain > tol * (hi - lo):
            return _witness(mechanism, places[best], gain, int(agent), report, tol * (hi - lo))
        kept = places[found.gain.topk(max(1, profiles // 4)).indices]
        kept = kept[torch.randint(len(kept), (profiles,), generator=g)]
        places = (kept + (hi - lo) * _steps(profiles, n, g)).clamp(lo, hi)
    return None


def _number(found: Any, row: NDArray[np.float64]) -> float:
    try:
        return float(found)
    except (TypeError, ValueError):
        raise TypeError(
            f"per_profile: the function must give one number a profile, and gives {found!r} for {row.tolist()}"
        ) from None


def _first_profiles(count: int, n: int, g: torch.Generator) -> Tensor:
    """Even, tied on the grid of n, in two groups, and crowded in a small part of the interval, in turns: ``[B, n]``."""
    even = torch.rand(count, n, generator=g, dtype=torch.float64)
    tied = (even * n).round() / n
    groups = torch.where(torch.rand(count, n, generator=g) < 0.5, even[:, :1], even[:, -1:])
    crowded = even[:, :1] * 0.9 + 0.1 * even
    kinds = torch.stack([even, tied, groups, crowded])
    turn = torch.arange(count)
    return kinds[turn % 4, turn]


def _steps(count: int, n: int, g: torch.Generator) -> Tensor:
    """Changes of some of the agents, from a tenth down to a millionth of the interval: ``[B, n]``."""
    size = 10 ** (-1 - 5 * torch.rand(count, 1, generator=g, dtype=torch.float64))
    changed = torch.rand(count, n, generator=g) < 0.5
    return torch.where(changed, size * torch.randn(count, n, generator=g, dtype=torch.float64), 0.0)


def _witness(mechanism: Mechanism, profile: Tensor, gain: float, agent: int, report: float, tol: float) -> Manipulation:
    said = profile.clone()
    said[agent] = report
    truthful, gamed = (float(apply(mechanism, own[None])[0]) for own in (profile, said))
    found = Manipulation(tuple(profile.tolist()), agent, report, truthful, gamed)
    if abs(found.gain - gain) > tol:
        raise ValueError(
            f"find_manipulation: agent {agent} of {list(found.profile)} gains {gain:.3g} by {report:.6g} in a batch "
            f"and {found.gain:.3g} alone: the rule is random, or its outcome depends on other profiles of the batch"
        )
    return found
