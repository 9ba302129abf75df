"""By how much Gibbs weights tilt the marginals, and how many pairs they leave."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TypedDict

import torch
from torch import Tensor

from entrokit.groups import widest

from .costs import Cost, check_eps, cost_matrix, log_kernel
from .sides import SWAPPED, are_swapped
from .weights import Potentials, check_potentials, log_factor

LARGE_VARIANCE, SMALL_SAMPLE = 0.1, 0.3


class Tilt(TypedDict):
    """What `tilt_diagnostics` finds, in float64.

    ``f [N]``, ``g [M]``: mean weight at each point of the source, of the target; ``Z``: mean weight of all; ``log_f``,
    ``log_g``, ``log_Z``: their logarithms, which do not underflow. ``source [N]``, ``target [M]``: shares of the tilted
    marginals, which sum to 1. ``rv_f``, ``rv_g``: relative variances of f and g, 0 where nothing is tilted. ``ess``:
    ``(E w)² / E w²``, the share of pairs that count.
    """

    f: Tensor
    g: Tensor
    Z: float
    log_f: Tensor
    log_g: Tensor
    log_Z: float
    source: Tensor
    target: Tensor
    rv_f: float
    rv_g: float
    ess: float


@torch.no_grad()
def tilt_diagnostics(
    x: Tensor,
    y: Tensor,
    eps: float,
    cost: Cost = "l2",
    potentials: Potentials | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None,
) -> Tilt:
    """What weights of this temperature do to the laws that samples stand for.

    Training learns the flow between the tilted marginals ``f μ / Z`` and ``g ν / Z``, along their own entropic plan. It
    is then started from μ, so samples follow a law between ν and the tilted one; starting points drawn again by
    ``source`` give the tilted one itself.

    Args:
        x: ``[N, *]``, of the source. y: ``[M, *]``, of the target; a few thousand, for it takes O(N M).

    Raises:
        TypeError, ValueError: as `gibbs_weights` does; eps so small that costs over eps overflow.

    Warns:
        UserWarning: ``rv_g`` or ``rv_f`` above 0.1 (that side is tilted), or ``ess`` below 0.3 (most pairs count for
            nothing); potentials whose source and target are exchanged.
    """
    check_eps(eps)
    if potentials is not None:
        check_potentials(potentials, eps, cost)
        if are_swapped(potentials, x, y):
            # Between the caller and us is no_grad.
            warnings.warn(SWAPPED, stacklevel=3)
    found = tilt_of(cost_matrix(x, y, cost), eps, _log_factors(x, y, potentials))
    warn_of_tilt(found, eps, potentials is not None)
    return found


def _log_factors(
    x: Tensor, y: Tensor, potentials: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None
) -> Tensor | None:
    if potentials is None:
        return None
    source, target = potentials
    f, g = log_factor("source", source, x), log_factor("target", target, y)
    return f.to(widest(f))[:, None] + g.to(widest(g))


def tilt_of(costs: Tensor, eps: float, log_factors: Tensor | None = None) -> Tilt:
    """The tilt by a matrix of costs ``[N, M]``; says nothing."""
    log_weight = log_kernel(costs, eps)
    if log_factors is not None:
        log_weight = log_weight + log_factors.to(log_weight)
    rows, columns = log_weight.shape
    # One exponential of the matrix serves f and both moments: each row is scaled by its largest.
    largest = log_weight.amax(1)
    scaled = (log_weight - largest[:, None]).exp()
    log_sum = scaled.sum(1).log() + largest
    log_squares = scaled.square_().sum(1).log() + 2 * largest
    log_f = log_sum - math.log(columns)
    log_g = log_weight.logsumexp(0) - math.log(rows)
    whole = log_sum.logsumexp(0)
    pairs = float((2 * whole - log_squares.logsumexp(0)).exp())
    log_z = float(whole) - math.log(rows * columns)
    return Tilt(
        f=log_f.exp(),
        g=log_g.exp(),
        Z=math.exp(log_z) if log_z < 700 else math.inf,
        log_f=log_f,
        log_g=log_g,
        log_Z=log_z,
        source=log_f.softmax(0),
        target=log_g.softmax(0),
        rv_f=_relative_variance(log_f),
        rv_g=_relative_variance(log_g),
        ess=pairs / (rows * columns),
    )


def _relative_variance(logs: Tensor) -> float:
    values = (logs - logs.max()).exp()
    return float(values.var(unbiased=False) / values.mean().square())


def warn_of_tilt(tilt: Tilt, eps: float, untilted: bool = False) -> None:
    """Warns, where a caller two levels up stands, of a large tilt or of few pairs."""
    tilted = [
        f"the {side} is tilted ({name} {variance:.3g} > {LARGE_VARIANCE:g})"
        for side, name, variance in (("target", "rv_g", tilt["rv_g"]), ("source", "rv_f", tilt["rv_f"]))
        if variance > LARGE_VARIANCE
    ]
    said = list(tilted)
    if tilt["ess"] < SMALL_SAMPLE:
        said.append(f"most pairs count for nothing (ess {tilt['ess']:.3g} < {SMALL_SAMPLE:g})")
    # Factors undo a tilt; they need not make more pairs count.
    factors = "potentials of a larger reference" if untilted else "sinkhorn_potentials"
    remedy = factors if tilted else "larger batches"
    if said:
        # Between the caller and us are the function and its no_grad.
        warnings.warn(f"at eps {eps:g} {', '.join(said)}: raise eps, or take {remedy}", stacklevel=4)
