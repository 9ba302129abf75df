"""What a flow is measured by: the exact distance W2 of its samples to data, and how straight its paths are."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from entrokit.extras import missing
from entrokit.groups import widest

from .checks import check_callable, check_finite, check_tensors
from .velocities import flow_velocity

__all__ = ["Flowed", "integrate", "normalised_path_energy", "wasserstein2"]

# Pivots of the network simplex: POT's default of 100,000 is too few from about 2,000 points on.
_PIVOTS = 10_000_000


class Flowed(NamedTuple):
    """Where points came to, ``[B, *]``, and what their way cost, the mean over B of ``∫ |v|² dt``."""

    points: Tensor
    energy: float


@torch.no_grad()
def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    steps: int = 50,
    method: Literal["midpoint", "euler"] = "midpoint",
) -> Flowed:
    """Follows ``dx/dt = velocity(t, x)`` from t = 0 to 1 in even steps.

    Args:
        velocity: ``velocity(t [B], x [B, *]) -> [B, *]``, as a flow-matching loop calls its model.
        x: ``[B, *]``, where to start. Narrow dtypes are carried in float32; the velocity sees, and gives, any.
        method: ``midpoint`` asks the velocity twice a step, ``euler`` once.

    Returns:
        The points at t = 1 and the mean path energy, by the same rule as the points.

    Raises:
        TypeError: points, or what the velocity gives, that are no tensor (of a model of diffusers, take ``.sample``).
        ValueError: no point, no step, an unknown method, a velocity of another shape; NaN or infinity in what it gives
            or in the points.
    """
    check_callable("velocity", velocity, "velocity(t [B], x [B, *]) -> [B, *]")
    check_tensors(x=x)
    if not x.ndim or not x.numel() or not x.is_floating_point():
        raise ValueError(f"x: points [B, *] of a floating dtype are expected; got {list(x.shape)} of {x.dtype}")
    check_finite("x", x)
    if not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"steps: a whole number of at least 1 is expected; it is {steps!r}")
    if method not in ("midpoint", "euler"):
        raise ValueError(f"method: is midpoint or euler; got {method!r}")
    dt, energy = 1 / steps, 0.0
    # Of bfloat16's eight bits a step of 1/50 leaves nothing.
    at = x if x.dtype == torch.float64 else x.float()
    for i in range(steps):
        v = _asked(velocity, i * dt, at, x.dtype)
        if method == "midpoint":
            v = _asked(velocity, (i + 0.5) * dt, at + 0.5 * dt * v, x.dtype)
        at = at + dt * v
        energy += dt * float(v.to(widest(v)).square().sum()) / len(x)
    points = at.to(x.dtype)
    check_finite("x at t = 1", points)
    return Flowed(points, energy)


def _asked(velocity: Callable[[Tensor, Tensor], Tensor], t: float, at: Tensor, dtype: torch.dtype) -> Tensor:
    x, name = at.to(dtype), f"the velocity at t = {t:g}"
    found = flow_velocity(velocity, x.new_full((len(x),), t), x, name)
    check_finite(name, found)
    return found.to(at.dtype)


def wasserstein2(x: Tensor, y: Tensor) -> float:
    """W2 between two samples with equal weights: the root of the least mean squared distance of a coupling.

    Exact, by the network simplex of POT (``ot.emd2``) in float64. Between samples of one law it is not 0 but falls
    slowly with their number: compare at equal sizes, beside the distance of two samples of the target. Memory N M; time
    grows faster than its square: a second or so for 1,500 points.

    Args:
        x: ``[N, *]``. y: ``[M, *]``, the same trailing shape; on any device.

    Raises:
        TypeError: samples that are no tensors.
        ValueError: no points, shapes that differ, NaN; a problem that the solver did not solve.
        MissingExtraError: POT is not installed (the extra ``generative``).
    """
    try:
        import ot
    except ImportError:
        raise missing("wasserstein2", ("pot",)) from None
    check_tensors(x=x, y=y)
    if not (x.ndim and y.ndim) or x.shape[1:] != y.shape[1:] or not x.numel() or not y.numel():
        raise ValueError(
            f"samples [N, *] and [M, *] are expected; their shapes are {list(x.shape)} and {list(y.shape)}"
        )
    a, b = (p.detach().cpu().double().reshape(len(p), -1) for p in (x, y))
    for name, points in (("x", a), ("y", b)):
        if not bool(points.isfinite().all()):
            raise ValueError(f"{name}: point {int((~points.isfinite()).any(1).nonzero()[0])} is not finite")
    squares = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square().numpy()
    found, log = ot.emd2(ot.unif(len(a)), ot.unif(len(b)), squares, numItermax=_PIVOTS, log=True)
    if log["warning"] is not None:
        raise ValueError(f"the transport of {len(a)} to {len(b)} points was not solved: {log['warning']}")
    return math.sqrt(max(float(found), 0.0))


def normalised_path_energy(energy: float, distance: float) -> float:
    """``|energy - W2²| / W2²``: 0 where paths are those of optimal transport.

    Read it beside the energy itself: a flow that does not reach its target can spend less than W2².

    Args:
        energy: mean of ``∫ |v|² dt``. distance: W2 between source and target, above 0.

    Raises:
        ValueError: a distance that is not above 0, an energy that is not finite or below 0.
    """
    if not 0 < distance < math.inf:
        raise ValueError(f"distance: must be above 0 and finite; it is {distance}")
    if not 0 <= energy < math.inf:
        raise ValueError(f"energy: must be finite and at least 0; it is {energy}")
    return abs(energy - distance**2) / distance**2
