"""Where agents end who reply to one another: the equilibria of rules that can be gamed (arXiv 2111.01566).

Under every continuous and strictly monotone rule with unanimous fair share, truthful or not, the outcome of the pure
equilibrium is the uniform phantom of where agents really are. The average is such a rule.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .deviations import Gains, best_deviations
from .mechanisms import average
from .reports import Mechanism, ReportsLike, apply, profiles, whole_number

# Halvings of the interval: below the spacing of float64.
_HALVINGS = 54
# A gain up to this share of the interval is rounding.
_NO_GAIN = 1e-9


class Equilibrium(NamedTuple):
    """Where cyclic best replies end.

    Attributes:
        outcome: ``[...]``. reports: ``[..., n]``. sweeps: ``[...]``, rounds in which anybody changed a report.
        settled: ``[...]``, whether a round came in which nobody did, and no agent was found who gains more than 1e-9 of
            the interval by another report; where False, this need not be an equilibrium.
        deviation: the best other report that was found at the end: whose it is, and what it gains. Exact for `average`;
            of other rules a search as that of `manipulability`, which a rule that falls may elude.
    """

    outcome: Tensor
    reports: Tensor
    sweeps: Tensor
    settled: Tensor
    deviation: Gains


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

    An agent takes the report whose outcome is nearest to it, and keeps the one it has where no other is nearer. It is
    found by halving, which is exact for a rule that does not fall in any report, also where it jumps; for `average` it
    is ``n x_i`` minus the others' reports, clipped. Of any other rule the end is held against a search over reports:
    see ``settled`` and ``deviation``. Two agents at a distance d, one on each side of the outcome, outbid each other
    under `average` by n d a sweep: some 1 / (n d) sweeps pass until one of them is at an end.

    Args:
        mechanism: takes reports ``[..., n]``; one of this package on another interval is
            ``lambda r: midpoint(r, lo, hi)``; `average` itself needs no such thing.
        tol: change of a report, and gain by it, in shares of the interval, that are none.

    Raises:
        ReportError: locations that are NaN or outside of the interval. ValueError: an outcome that is no number, a
            rule whose outcome at the ends of a report falls, ``max_sweeps`` below 1, ``tol`` outside of [0, 1).
            TypeError: no mechanism, or one that gives no tensor; ``max_sweeps`` that is not whole.
    """
    given = profiles(x, lo, hi)
    max_sweeps = whole_number(max_sweeps, "best_response_equilibrium: max_sweeps")
    if not 0 <= tol < 1:
        raise ValueError(f"best_response_equilibrium: tol must lie in [0, 1), got {tol}")
    places = given.reports.double()
    shape, flat = places.shape[:-1], places.reshape(-1, given.size)
    reports = flat.clone()
    sweeps = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
    moving = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    for _ in range(max_sweeps):
        acting, wanted = reports[moving], flat[moving]
        most = torch.zeros_like(acting[:, 0])
        for agent in range(given.size):
            said, place = acting[:, agent].clone(), wanted[:, agent]
            if mechanism is average:
                acting[:, agent] = _reply_to_mean(acting.sum(-1) - said, place, given.size, lo, hi)
            else:
                acting[:, agent], gain = _reply(mechanism, acting, agent, place, lo, hi)
                # Where a rule jumps, a report that hardly changes may change much.
                most = torch.maximum(most, gain)
            most = torch.maximum(most, (acting[:, agent] - said).abs())
        reports[moving] = acting
        moving[moving.clone()] = most > tol * (hi - lo)
        sweeps += moving
        if not moving.any():
            break
    if mechanism is average:
        outcome, deviation = average(reports, lo, hi), _gains_under_mean(flat, reports, lo, hi)
    else:
        outcome, deviation = apply(mechanism, reports), best_deviations(mechanism, flat, reports, lo, hi)
    settled = ~moving & (deviation.gain <= _NO_GAIN * (hi - lo))
    return Equilibrium(
        outcome.reshape(shape),
        reports.reshape(places.shape),
        sweeps.reshape(shape),
        settled.reshape(shape),
        Gains(*(own.reshape(shape) for own in deviation)),
    )


def _reply_to_mean(others: Tensor, place: Tensor, n: int, lo: float, hi: float) -> Tensor:
    """The best report under `average`, where the other ``n - 1`` sum to ``others``."""
    return (n * place - others).clamp(lo, hi)


def _gains_under_mean(places: Tensor, reports: Tensor, lo: float, hi: float) -> Gains:
    n = reports.shape[-1]
    others = reports.sum(-1, keepdim=True) - reports
    replies = _reply_to_mean(others, places, n, lo, hi)
    before, after = (((others + said) / n - places).abs() for said in (reports, replies))
    gain, agent = (before - after).clamp(min=0.0).max(-1)
    return Gains(gain, agent, replies.gather(-1, agent[:, None]).squeeze(-1))


def _reply(rule: Mechanism, reports: Tensor, agent: int, place: Tensor, lo: float, hi: float) -> tuple[Tensor, Tensor]:
    """The best report of an agent, and how much nearer the outcome comes than by the one that it has."""

    def outcome(report: Tensor) -> Tensor:
        changed = reports.clone()
        changed[:, agent] = report
        return apply(rule, changed)

    said = reports[:, agent]
    left, right = torch.full_like(place, lo), torch.full_like(place, hi)
    least, most = outcome(left), outcome(right)
    falls = most < least - 1e-9 * (hi - lo)
    if falls.any():
        at = int(falls.nonzero()[0])
        raise ValueError(
            f"best_response_equilibrium: the outcome falls from {float(least[at]):.6g} to {float(most[at]):.6g} as "
            f"agent {agent} of {reports[at].tolist()} goes from {lo:g} to {hi:g}; best replies need a monotone rule"
        )
    below, above = least, most
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        found = outcome(middle)
        short = found < place
        left, below = torch.where(short, middle, left), torch.where(short, found, below)
        right, above = torch.where(short, right, middle), torch.where(short, above, found)
    # A rule that jumps over the place is nearer to it on one of the two sides.
    nearer = (below - place).abs() <= (above - place).abs()
    best, reached = torch.where(nearer, left, right), torch.where(nearer, below, above)
    gain = (outcome(said) - place).abs() - (reached - place).abs()
    return torch.where(gain > 0, best, said), gain.clamp(min=0.0)
