"""Probability flow and entropy production of a stationary law whose score is known or learnt.

Deep learning probability flows and entropy production rates in active matter (arXiv 2309.12991). With
dX = b(X) dt + √(2D) dW, D diagonal and constant, and s = ∇log ρ of the stationary law: v = b - D s, and entropy is
produced at the rate σ = E[vᵀ D⁻¹ v], nats per unit of time (k_B = 1, all coordinates even under time reversal). Of
coordinate k it is v_k² / D_k; of a particle, the sum over its coordinates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import Field, as_diffusion, check_field, check_points
from .divergence import Method, jacobian_diagonal

__all__ = [
    "Estimate",
    "entropy_production_rate",
    "epr_by_coordinate",
    "epr_without_score",
    "estimate",
    "local_epr",
    "probability_flow",
    "stationarity",
]


class Estimate(NamedTuple):
    """A mean over independent rows and its standard error; NaN of one row, which has none."""

    mean: Tensor
    stderr: Tensor


def estimate(values: Tensor) -> Estimate:
    """Mean and standard error over the rows of ``[B, *]``, each ``[*]``, in float64. Rows count as independent."""
    wide = values.detach().double()
    error = wide.std(0) / math.sqrt(len(wide)) if len(wide) > 1 else torch.full_like(wide[0], math.nan)
    return Estimate(wide.mean(0), error)


def probability_flow(drift: Field, score: Field, diffusion: Tensor | float) -> Field:
    """v(x) = b(x) - D s(x) as a function of points ``[B, *]``; it carries the law along as the noisy motion does.

    Args:
        diffusion: the diagonal of D: a number, or what broadcasts to ``[*]``.

    Raises:
        TypeError, ValueError: when called: points, diffusion or what the fields give is of a wrong shape or not finite.
    """

    def flow(x: Tensor) -> Tensor:
        spread = as_diffusion(diffusion, check_points(x))
        return check_field(drift(x), "the drift", x) - spread * check_field(score(x), "the score", x)

    return flow


def epr_by_coordinate(
    x: Tensor, drift: Field, score: Field, diffusion: Tensor | float, *, noisy_only: bool = False
) -> Tensor:
    """v_k² / D_k at points ``[B, *]``, the same shape: the local entropy production of every degree of freedom.

    Args:
        noisy_only: coordinates with D = 0 count as 0 and the rest is a part of the entropy production; by default they
            are refused, since D⁻¹ does not exist there.

    Raises:
        ValueError: as `probability_flow`; a coordinate without noise, or none with.
    """
    spread = as_diffusion(diffusion, check_points(x))
    still = spread == 0
    if bool(still.all()) or (bool(still.any()) and not noisy_only):
        raise ValueError(
            f"the diffusion of {int(still.sum())} of {still.numel()} coordinates is 0, the first is number "
            f"{int(still.flatten().nonzero()[0])}: entropy production has no D⁻¹ there; noisy_only=True gives the part "
            "of the others"
        )
    v = probability_flow(drift, score, diffusion)(x)
    return torch.where(still, 0.0, v.square() / torch.where(still, 1.0, spread))


def local_epr(x: Tensor, drift: Field, score: Field, diffusion: Tensor | float, *, noisy_only: bool = False) -> Tensor:
    """σ(x) = vᵀ D⁻¹ v at points ``[B, *]``, shape ``[B]``: the sum of `epr_by_coordinate`."""
    return epr_by_coordinate(x, drift, score, diffusion, noisy_only=noisy_only).flatten(1).sum(1)


def entropy_production_rate(
    x: Tensor, drift: Field, score: Field, diffusion: Tensor | float, *, noisy_only: bool = False
) -> Estimate:
    """σ = E[vᵀ D⁻¹ v] over points ``[B, *]`` of the stationary law, and its standard error, nats per unit of time.

    The error is that of the sample, not of the score: an error δ of the score adds E[δᵀ D δ] - 2 E[vᵀ δ].
    """
    return estimate(local_epr(x, drift, score, diffusion, noisy_only=noisy_only))


def epr_without_score(x: Tensor, drift: Field, diffusion: Tensor | float, *, method: Method = "exact") -> Estimate:
    """σ = E[bᵀ D⁻¹ b] + E[∇·b] over points ``[B, *]`` of the stationary law: the total alone, and no score needed.

    Equal to `entropy_production_rate` of the right score; what they differ by is the error of a learnt one. Two large
    numbers may cancel, so look at the standard error.

    The drift must be continuous: ∇·b is what differentiation gives, and a jump has no derivative. Of dX = -sign(X) dt +
    √2 dW, which is in equilibrium, it gives 1 in place of 0; smooth the jump, or take `entropy_production_rate`.

    Raises:
        ValueError: a coordinate without noise; drifts of another shape or not finite.
    """
    spread = as_diffusion(diffusion, check_points(x))
    if bool((spread == 0).any()):
        raise ValueError("the diffusion of a coordinate is 0: the total needs noise in all of them")
    with torch.no_grad():
        b, db = jacobian_diagonal(drift, x, method=method)
    return estimate((b.square() / spread + db).flatten(1).sum(1))


def stationarity(
    x: Tensor,
    drift: Field,
    score: Field,
    diffusion: Tensor | float,
    *,
    method: Method = "exact",
    generator: torch.Generator | None = None,
) -> dict[str, Estimate]:
    """What vanishes for the score of the stationary law of points ``[B, *]``; what does not is data or score at fault.

    ``div_v``: E[∇·v]. ``v_dot_s``: E[v·s]. ``fisher``: E[|s|² + ∇·s], which needs no drift and finds a score that did
    not converge. ``residual``: E[(∇·v + v·s)²], 0 at every point (with ``hutchinson``, it has the probe's variance).
    """
    spread = as_diffusion(diffusion, check_points(x))
    with torch.no_grad():
        s, ds = jacobian_diagonal(score, x, method=method, generator=generator)
        b, db = jacobian_diagonal(drift, x, method=method, generator=generator)
        div_v, v_dot_s = ((t.flatten(1).sum(1)) for t in (db - spread * ds, (b - spread * s) * s))
        fisher = (s.square() + ds).flatten(1).sum(1)
    return {
        "div_v": estimate(div_v),
        "v_dot_s": estimate(v_dot_s),
        "fisher": estimate(fisher),
        "residual": estimate((div_v + v_dot_s).square()),
    }
