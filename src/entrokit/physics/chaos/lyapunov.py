"""Lyapunov spectra of flows and maps, by QR of the tangent map along a trajectory."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .checks import ArrayLike, as_float64, as_positive, as_whole
from .fields import Field, as_batched_jacobian, check_field_along_time, jacobian_of
from .flow import Flow, name_of
from .integrate import follow, follow_flow, start_of

__all__ = ["lyapunov_spectrum", "map_lyapunov_spectrum", "spectrum_of_tangents"]

# States whose tangent maps are made at a time.
_STATES = 4096


@torch.no_grad()
def lyapunov_spectrum(
    f: Field, x0: ArrayLike, dt: float, n_steps: int, jac: Field | None = None, *, transient: int = 0
) -> Tensor:
    """Exponents of a flow, descending, in nats per unit time.

    State and tangent are integrated together: the tangent map is the exact derivative of a step of Runge and Kutta's
    method, so that the exponents are those of the stepped flow, fourth order in dt. Annotations of arXiv 2110.05266
    take ``I + J dt``, which is first order.

    Args:
        f: a `Flow`, or any function ``[..., D] -> [..., D]``. x0: ``[..., D]``, every leading index a trajectory of its
            own.
        dt: the step. n_steps: over which exponents are averaged; that of a flow which should be 0 goes to it as 1 /
            time.
        jac: ``[..., D] -> [..., D, D]``, or to one matrix ``[D, D]`` for all; by default the flow's own, or
            `torch.func`'s of ``f``, which must take ``[D]`` then.
        transient: steps before, in which the frame turns into the directions of growth; without them short averages are
            biased.

    Returns:
        ``[..., D]``, float64. Where a tangent map is singular the smallest is minus infinity.

    Raises:
        DivergedError: a trajectory left for infinity.
        TypeError: no function, or a class. ValueError: shapes or numbers that are none; a field that gives something
            else for a state of many than for the state alone, or that `torch.func` cannot differentiate; a Jacobian
            that is neither ``[..., D, D]`` nor ``[D, D]``, not finite, or not that of ``f``.
    """
    dt = as_positive(dt, "dt")
    x = _tried(f, x0)
    own = f.jacobian if isinstance(f, Flow) else jacobian_of(f, name_of(f))
    jacobian = as_batched_jacobian(own if jac is None else jac, f, x)

    def tangents(x: Tensor) -> Tensor:
        identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        k1 = f(x)
        d1 = jacobian(x)
        x2 = x + 0.5 * dt * k1
        d2 = jacobian(x2) @ (identity + 0.5 * dt * d1)
        x3 = x + 0.5 * dt * f(x2)
        d3 = jacobian(x3) @ (identity + 0.5 * dt * d2)
        d4 = jacobian(x + dt * f(x3)) @ (identity + dt * d3)
        return identity + dt / 6 * (d1 + 2 * (d2 + d3) + d4)

    return _along(lambda x, n: follow_flow(f, x, dt, n, 1), tangents, x, n_steps, transient, dt)


@torch.no_grad()
def map_lyapunov_spectrum(
    f: Field, x0: ArrayLike, n_steps: int, jac: Field | None = None, *, transient: int = 0
) -> Tensor:
    """Exponents of a map ``x -> f(x)``, descending, in nats per step; otherwise as `lyapunov_spectrum`.

    Maps that stretch by whole powers of 2, as the tent map does, shift digits out of a float: within some fifty steps
    the orbit stands on a point that repels, and exponents are those of that point, or minus infinity.

    Warns:
        RuntimeWarning: an orbit ends so.
    """
    start = x = _tried(f, x0)
    tangents = as_batched_jacobian(jacobian_of(f, name_of(f)) if jac is None else jac, f, x)
    ends = x[..., None, :]

    def along(x: Tensor, n: int) -> Tensor:
        nonlocal ends
        states = follow(f, x, n, 1, name_of(f), None)
        ends = states[..., -2:, :]
        return states

    exponents = _along(along, tangents, x, n_steps, transient, 1.0)
    _warn_of_collapse(start, ends, tangents, name_of(f))
    return exponents


@torch.no_grad()
def spectrum_of_tangents(tangents: ArrayLike, dt: float = 1.0) -> Tensor:
    """Exponents ``[..., D]`` of a product of tangent maps ``[..., T, D, D]``, the first of which acts first.

    Raises:
        ValueError: no square matrices, or not finite.
    """
    dt = as_positive(dt, "dt")
    maps = as_float64(tangents, "tangents")
    if maps.ndim < 3 or maps.shape[-1] != maps.shape[-2] or not maps.numel():
        raise ValueError(f"tangents: matrices [..., T, D, D] are expected; got {list(maps.shape)}")
    q = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device).expand(*maps.shape[:-3], -1, -1)
    _, logs = _turn(maps, q)
    return _sorted(logs / (maps.shape[-3] * dt))


def _along(
    follow: Callable[[Tensor, int], Tensor], tangents: Field, x: Tensor, n_steps: int, transient: int, dt: float
) -> Tensor:
    """Exponents along the states ``[..., n + 1, D]`` that ``follow`` gives, chunks at a time."""
    n_steps, transient = as_whole(n_steps, "n_steps", 1), as_whole(transient, "transient", 0)
    q = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, -1)
    at_once = max(1, _STATES // (x.numel() // x.shape[-1]))
    for left in (transient, n_steps):
        logs = torch.zeros_like(x)
        while left:
            states = follow(x, min(left, at_once))
            maps = tangents(states[..., :-1, :])
            if not bool(maps.isfinite().all()):
                at = states[tuple((~maps.isfinite()).nonzero()[0, :-2].tolist())].tolist()
                raise ValueError(f"jac: the Jacobian at or behind the state {at} is not finite")
            q, more = _turn(maps, q)
            logs, x, left = logs + more, states[..., -1, :], left - (states.shape[-2] - 1)
    return _sorted(logs / (n_steps * dt))


def _warn_of_collapse(start: Tensor, ends: Tensor, tangents: Field, name: str) -> None:
    """Of orbits from ``[..., D]`` whose last states ``[..., 2, D]`` are one, which repels: rounding put it there."""
    rounding = torch.finfo(start.dtype).eps * float(start.abs().amax())
    stands = (ends[..., 1, :] - ends[..., 0, :]).abs().amax(-1) <= rounding
    moved = (ends[..., 1, :] - start).abs().amax(-1) > rounding
    repels = torch.linalg.eigvals(tangents(ends)[..., 1, :, :]).abs().amax(-1) > 1.0
    collapsed = stands & moved & repels
    if bool(collapsed.any()):
        warnings.warn(
            f"{name}: {int(collapsed.sum())} of {collapsed.numel()} orbits collapsed in floating point: one stands at "
            f"{ends[..., 1, :][collapsed][0].tolist()}, which repels. The exponents are not those of a typical orbit; "
            "add noise of the size of rounding to the map, or stretch by a little less than a power of 2",
            RuntimeWarning,
            stacklevel=4,  # past the decorator
        )


def _tried(f: Field, x0: ArrayLike) -> Tensor:
    x = start_of(f, x0)
    check_field_along_time(f, x, name_of(f))
    return x


def _turn(maps: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The frame behind maps ``[..., T, D, D]``, and by how much each of its directions grew in logarithms."""
    logs = []
    for a in maps.unbind(-3):
        q, r = torch.linalg.qr(a @ q)
        logs.append(r.diagonal(dim1=-2, dim2=-1).abs())
    return q, torch.stack(logs).log().sum(0)


def _sorted(exponents: Tensor) -> Tensor:
    return exponents.sort(-1, descending=True).values
