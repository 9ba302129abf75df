"""Factors that undo the tilt: Sinkhorn's, from a reference sample, at any point."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from ..checks import check_number
from .costs import Cost, check_eps, cost_matrix, log_kernel
from .weights import Potentials


@dataclass(frozen=True, eq=False)
class SinkhornFactor:
    """A log-factor at any points ``[B, *]``: what makes their row of the plan, over a reference sample, sum to 1.

    ``-log mean_j exp(log_other_j - c(z, reference_j) / eps)``. Costs B N d.

    Attributes:
        reference: ``[N, *]``, of the other side. log_other: ``[N]``, the other side's log-factor there.
        of_source: whether the points are the cost's first argument.
    """

    reference: Tensor
    log_other: Tensor
    eps: float
    cost: Cost
    of_source: bool

    def __call__(self, points: Tensor) -> Tensor:
        """``[B]``, float64."""
        pair = (points, self.reference) if self.of_source else (self.reference, points)
        costs = cost_matrix(*pair, self.cost)
        return _log_factor(costs if self.of_source else costs.T, self.log_other, self.eps)


@torch.no_grad()
def sinkhorn_potentials(
    x: Tensor, y: Tensor, eps: float, cost: Cost = "l2", *, tolerance: float = 1e-6, iterations: int = 10_000
) -> Potentials:
    """Factors f̂, ĝ with which Gibbs weights are the entropic-transport plan of the samples: nothing is tilted.

    Sinkhorn's iteration in the log domain, on reference samples, once before training. At other points the factors
    follow from the same equations; a step then costs O(B (N + M) d) more, and is right as far as the reference is like
    the data (`tilt_diagnostics` with these potentials, on other samples, says how far). For the eps and cost given.

    Args:
        x: ``[N, *]``, of the source. y: ``[M, *]``, of the target; a few hundred to a few thousand.
        tolerance: largest relative error of a row's sum to stop at. iterations: at most.

    Raises:
        ValueError: eps or points as `gibbs_weights` refuses them, a tolerance that is not above 0, no iteration.

    Warns:
        UserWarning: the iterations did not suffice; says by how much sums are off.
    """
    check_eps(eps)
    check_number("tolerance", tolerance)
    if not tolerance > 0 or not isinstance(iterations, Integral) or iterations < 1:
        raise ValueError(
            f"tolerance above 0 and a whole number of iterations, at least 1, are expected; got {tolerance!r} and "
            f"{iterations!r}"
        )
    costs = cost_matrix(x, y, cost)
    log_f = costs.new_zeros(len(costs))
    log_g, off = costs.new_zeros(costs.shape[1]), math.inf
    for _ in range(iterations):
        log_g = _log_factor(costs.T, log_f, eps)
        fresh = _log_factor(costs, log_g, eps)
        off, log_f = float((log_f - fresh).exp().sub(1).abs().max()), fresh
        if off <= tolerance:
            break
    else:
        warnings.warn(
            f"after {iterations} iterations a row of the plan is off by a share of {off:.2g}, more than the tolerance "
            f"{tolerance:g}: raise iterations, or eps ({eps:g})",
            stacklevel=3,
        )
    # Whoever fills his buffers anew must not move the factors.
    x, y = x.detach().clone(), y.detach().clone()
    return Potentials(SinkhornFactor(y, log_g, eps, cost, True), SinkhornFactor(x, log_f, eps, cost, False))


def _log_factor(costs: Tensor, log_other: Tensor, eps: float) -> Tensor:
    return math.log(costs.shape[1]) - (log_other + log_kernel(costs, eps)).logsumexp(1)
