"""Where agents end who reply to one another: the equilibria of rules that can be gamed (arXiv 2111.01566).

Under every continuous and strictly monotone rule with unanimous fair share, truthful or not, the outcome of the pure
equilibrium is the uniform phantom of where agents really are. The average is such a rule.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .mechanisms import average
from .reports import Mechanism, ReportsLike, apply, profiles

# Halvings of the interval: below the spacing of float64.
_HALVINGS = 54


class Equilibrium(NamedTuple):
    """Where cyclic best replies end.

    Attributes:
        outcome: ``[...]``. reports: ``[..., n]``. sweeps: ``[...]``, rounds in which anybody changed a report.
        settled: ``[...]``, whether a round came in which nobody did; where False, this is no equilibrium.
    """

    outcome: Tensor
    reports: Tensor
    sweeps: Tensor
    settled: Tensor


@torch.no_grad()
def best_response_equilibrium(
    x: ReportsLike,
    mechanism: Mechanism = average,
    *,
    lo: float = 0.0,
    hi: float = 1.0,
    max_sweeps: int = 100,
    tol: float = 1e-12,
) -> Equilibrium:
    """Cyclic best replies of agents at ``x [..., n]``, who begin by the truth. In float64.

    An agent takes the report whose outcome is where it is, or the end of the interval that brings the outcome nearest.
    It is found by halving, which asks for a rule that is continuous and does not fall in any report; for `average` it
    is ``n x_i`` minus the others' reports, clipped. Two agents at a distance d, one on each side of the outcome,
    outbid each other by n d a sweep: some 1 / (n d) sweeps pass until one of them is at an end. See ``settled``.

    Args:
        mechanism: takes reports ``[..., n]``; one of this package on another interval is
            ``lambda r: midpoint(r, lo, hi)``; `average` itself needs no such thing.
        tol: change of a report, in shares of the interval, that is none.

    Raises:
        ReportError: locations that are NaN or outside of the interval. ValueError: an outcome that is no number, a
            rule whose outcome falls as a report rises, ``max_sweeps`` below 1.
    """
    given = profiles(x, lo, hi)
    if max_sweeps < 1:
        raise ValueError(f"best_response_equilibrium: max_sweeps must be at least 1, got {max_sweeps}")
    places = given.reports.double()
    shape, flat = places.shape[:-1], places.reshape(-1, given.size)
    reports = flat.clone()
    sweeps = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
    moving = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    for _ in range(max_sweeps):
        acting = reports[moving]
        before, wanted = acting.clone(), flat[moving]
        for agent in range(given.size):
            if mechanism is average:
                others = acting.sum(-1) - acting[:, agent]
                acting[:, agent] = (given.size * wanted[:, agent] - others).clamp(lo, hi)
            else:
                acting[:, agent] = _reply(mechanism, acting, agent, wanted[:, agent], lo, hi)
        changed = (acting - before).abs().amax(-1) > tol * (hi - lo)
        reports[moving] = acting
        moving[moving.clone()] = changed
        sweeps += moving
        if not moving.any():
            break
    rule = (lambda r: average(r, lo, hi)) if mechanism is average else mechanism
    outcome = apply(rule, reports)
    settled = ~moving.reshape(shape)
    return Equilibrium(outcome.reshape(shape), reports.reshape(places.shape), sweeps.reshape(shape), settled)


def _reply(rule: Mechanism, reports: Tensor, agent: int, place: Tensor, lo: float, hi: float) -> Tensor:
    def outcome(report: Tensor) -> Tensor:
        changed = reports.clone()
        changed[:, agent] = report
        return apply(rule, changed)

    left, right = torch.full_like(place, lo), torch.full_like(place, hi)
    least, most = outcome(left), outcome(right)
    falls = most < least - 1e-9 * (hi - lo)
    if falls.any():
        at = int(falls.nonzero()[0])
        raise ValueError(
            f"best_response_equilibrium: the outcome falls from {float(least[at]):.6g} to {float(most[at]):.6g} as "
            f"agent {agent} of {reports[at].tolist()} goes from {lo:g} to {hi:g}; best replies need a monotone rule"
        )
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        below = outcome(middle) < place
        left, right = torch.where(below, middle, left), torch.where(below, right, middle)
    inside = (left + right) / 2
    return torch.where(
        least >= place, torch.full_like(place, lo), torch.where(most <= place, torch.full_like(place, hi), inside)
    )
