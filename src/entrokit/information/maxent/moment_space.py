"""Which averages laws over given states can have: the convex hull of the states' observables, and its border.

Everything here takes the observables ``g`` ``[X, K]`` of the states that can be, minus the averages that are wanted, in
units of each observable's range (`in_units_of_range`): a law has those averages where ``p @ g = 0``.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Floats

BORDER = 1e-9
"""Of an observable's range: what is nearer to the border than this cannot be told from it in float64."""

# Of a range: observables are computed, and a redundant one is so up to rounding.
_REDUNDANT = 1e-12
# `linprog` may miss its constraints by so much; a direction that it finds has size 1.
_LINPROG = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def in_units_of_range(f: Floats, averages: Floats) -> tuple[Floats, Floats]:
    """``(f - averages) / range`` of observables ``[X, K]``, and the ranges ``[K]``; a constant's range is its size."""
    # Along contiguous rows numpy is some ten times as fast.
    rows = np.ascontiguousarray(f.T)
    low, high = rows.min(1), rows.max(1)
    size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    ranges = np.where(spread > _REDUNDANT * size, spread, np.where(size > 0, size, 1.0))
    return (f - averages) / ranges, ranges


def free_directions(g: Floats) -> Floats:
    """Combinations of the observables that are not constant, ``[K, R]``, each of variance 1 over the states."""
    triangle = np.linalg.qr(g - g.mean(0), mode="r")
    _, sizes, rows = np.linalg.svd(triangle, full_matrices=False)
    used = sizes > _REDUNDANT * np.sqrt(len(g))
    return np.asarray(rows[used].T / sizes[used] * np.sqrt(len(g)))


def least_miss(g: Floats) -> Floats:
    """What the averages of the nearest law are above the wanted ones, ``[K]``: 0 where a law has them.

    Nearest in the sum of the misses; by linear programming (scipy), but for a single observable.
    """
    if g.shape[1] == 1:
        miss = np.clip(0.0, g.min(0), g.max(0))
    else:
        from scipy.optimize import linprog

        states, observables = g.shape
        # Variables: the law, and the amounts by which averages are above or below.
        equal = np.hstack([g.T, -np.eye(observables), np.eye(observables)])
        total = np.hstack([np.ones(states), np.zeros(2 * observables)])
        cost = np.hstack([np.zeros(states), np.ones(2 * observables)])
        right = np.append(np.zeros(observables), 1.0)
        found = linprog(cost, A_eq=np.vstack([equal, total]), b_eq=right, method="highs", options=_LINPROG)
        miss = found.x[states : states + observables] - found.x[states + observables :]
    return np.where(np.abs(miss) > BORDER, miss, 0.0)


def border_direction(g: Floats) -> Floats | None:
    """A combination ``n`` ``[K]`` that no law can make smaller than the wanted averages do; None inside the border.

    ``g @ n`` is 0 on the states that such a law is confined to, and above 0, 1 at most, on others. A single observable
    where one will do; by linear programming (scipy) otherwise. The averages must be some law's.
    """
    low, high = g.min(0), g.max(0)
    moves = high - low > BORDER
    for k in np.flatnonzero(moves & ((np.abs(low) <= BORDER) | (np.abs(high) <= BORDER))):
        return np.asarray(np.eye(len(low))[k] / (high[k] if abs(low[k]) <= BORDER else low[k]))
    free = free_directions(g)
    if free.shape[1] < 2:
        return None
    from scipy.optimize import linprog

    h = g @ free
    limits = np.repeat([1.0, 0.0], len(h))
    found = linprog(-h.mean(0), np.vstack([h, -h]), limits, bounds=(None, None), method="highs", options=_LINPROG)
    if found.x is None:
        return None
    # Inside, only 0 is allowed, or what the solver's tolerance lets pass; on the border a direction can be stretched.
    return np.asarray(free @ found.x) if float((h @ found.x).max()) > 0.5 else None
