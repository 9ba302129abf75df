"""Lyapunov spectra of flows and maps, by QR of the tangent map along a trajectory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .checks import ArrayLike, as_float64, check_positive, check_whole
from .flow import Flow, jacobian_of
from .integrate import _name, _start, follow, follow_flow

__all__ = ["lyapunov_spectrum", "map_lyapunov_spectrum", "spectrum_of_tangents"]

# States whose tangent maps are made at a time.
_STATES = 4096

Field = Callable[[Tensor], Tensor]


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
        jac: ``[..., D] -> [..., D, D]``; by default the flow's own, or `torch.func`'s of ``f``, which must take ``[D]``
            then.
        transient: steps before, in which the frame turns into the directions of growth; without them short averages are
            biased.

    Returns:
        ``[..., D]``, float64. Where a tangent map is singular the smallest is minus infinity.

    Raises:
        DivergedError: a trajectory left for infinity.
        ValueError: shapes or numbers that are none; a Jacobian that is not ``[..., D, D]`` or not finite.
    """
    check_positive(dt, "dt")
    jacobian = _shaped(jac or (f.jacobian if isinstance(f, Flow) else jacobian_of(f)))

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

    return _along(lambda x, n: follow_flow(f, x, dt, n, 1), tangents, _start(f, x0), n_steps, transient, dt)


@torch.no_grad()
def map_lyapunov_spectrum(
    f: Field, x0: ArrayLike, n_steps: int, jac: Field | None = None, *, transient: int = 0
) -> Tensor:
    """Exponents of a map ``x -> f(x)``, descending, in nats per step; otherwise as `lyapunov_spectrum`."""

    def states(x: Tensor, n: int) -> Tensor:
        return follow(f, x, n, 1, _name(f), None)

    return _along(states, _shaped(jac or jacobian_of(f)), _start(f, x0), n_steps, transient, 1.0)


@torch.no_grad()
def spectrum_of_tangents(tangents: ArrayLike, dt: float = 1.0) -> Tensor:
    """Exponents ``[..., D]`` of a product of tangent maps ``[..., T, D, D]``, the first of which acts first.

    Raises:
        ValueError: no square matrices, or not finite.
    """
    check_positive(dt, "dt")
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
    check_whole(n_steps, "n_steps", 1)
    check_whole(transient, "transient", 0)
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


def _shaped(jacobian: Field) -> Field:
    def checked(x: Tensor) -> Tensor:
        found = jacobian(x)
        try:
            return found.expand(*x.shape, x.shape[-1])
        except RuntimeError:
            due = [*x.shape, x.shape[-1]]
            raise ValueError(f"jac: {due} is expected of states {list(x.shape)}; got {list(found.shape)}") from None

    return checked


def _turn(maps: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The frame behind maps ``[..., T, D, D]``, and by how much each of its directions grew in logarithms."""
    logs = []
    for a in maps.unbind(-3):
        q, r = torch.linalg.qr(a @ q)
        logs.append(r.diagonal(dim1=-2, dim2=-1).abs())
    return q, torch.stack(logs).log().sum(0)


def _sorted(exponents: Tensor) -> Tensor:
    return exponents.sort(-1, descending=True).values
