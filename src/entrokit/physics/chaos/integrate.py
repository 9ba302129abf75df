"""Trajectories of flows: fixed steps for any batch of starts, and SciPy's implicit solver for stiff ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from entrokit.extras import require

from .checks import ArrayLike, as_float64, as_not_negative, as_positive, as_whole
from .fields import Field, check_field
from .flow import Flow, check_flow, name_of

__all__ = ["DivergedError", "rk4", "sample_flow", "starts_on_attractor", "step_rk4"]

# Steps between two looks at whether a state is still finite.
_LOOKS = 500
# Steps a period of a finely resolved flow: arXiv 2110.05266 annotates with 500, the check of its claim with 300.
_FINE = 300


class DivergedError(ValueError):
    """A trajectory left for infinity; says whose, and from which start."""


def step_rk4(f: Callable[[Any], Any], x: Any, dt: float) -> Any:
    """One step of the classical method of Runge and Kutta, of tensors or arrays."""
    k1 = f(x)
    k2 = f(x + 0.5 * dt * k1)
    k3 = f(x + 0.5 * dt * k2)
    k4 = f(x + dt * k3)
    return x + dt / 6 * (k1 + 2 * (k2 + k3) + k4)


@torch.no_grad()
def rk4(f: Field, x0: ArrayLike, dt: float, n_steps: int, *, every: int = 1) -> Tensor:
    """States after 0, ``every``, 2 ``every`` ... steps: ``[..., n_steps // every + 1, D]`` from ``[..., D]``, float64.

    Raises:
        DivergedError: a state is no longer finite.
        TypeError: no function, or a class. ValueError: a field that gives another shape, or something else for a state
            of a batch than for the state alone; steps that are none.
    """
    dt, n_steps, every = as_positive(dt, "dt"), as_whole(n_steps, "n_steps", 1), as_whole(every, "every", 1)
    x = start_of(f, x0)
    check_field(f, x, name_of(f))
    return follow_flow(f, x, dt, n_steps, every)


def follow_flow(f: Field, x: Tensor, dt: float, n_steps: int, every: int) -> Tensor:
    """As `rk4`, of states that were looked at; through NumPy where a flow has it."""
    if not isinstance(f, Flow) or x.device.type != "cpu":
        return follow(lambda x: step_rk4(f, x, dt), x, n_steps, every, name_of(f), dt)
    state = np.moveaxis(x.numpy(), -1, 0)
    states = [state]
    with np.errstate(all="ignore"):
        if f.of_arrays(state) is None:
            return follow(lambda x: step_rk4(f, x, dt), x, n_steps, every, f.name, dt)
        for i in range(1, n_steps + 1):
            state = step_rk4(f.of_arrays, state, dt)
            if i % every == 0:
                states.append(state)
            if i % _LOOKS == 0 or i == n_steps:
                _check(torch.from_numpy(state).movedim(0, -1), i, f.name, dt)
    return torch.from_numpy(np.stack(states)).movedim((0, 1), (-2, -1)).contiguous()


def follow(step: Field, x: Tensor, n_steps: int, every: int, name: str, dt: float | None) -> Tensor:
    """States of a map or a stepped flow, as `rk4` gives them."""
    states = [x]
    for i in range(1, n_steps + 1):
        x = step(x)
        if i % every == 0:
            states.append(x)
        if i % _LOOKS == 0 or i == n_steps:
            _check(x, i, name, dt)
    return torch.stack(states, -2)


def _check(x: Tensor, i: int, name: str, dt: float | None) -> None:
    lost = ~x.isfinite().all(-1)
    if bool(lost.any()):
        which = f" from start {lost.nonzero()[0].tolist()}" if lost.ndim else ""
        when = f"step {i}" if dt is None else f"time {i * dt:g} (step {i} of {dt:g})"
        advice = "" if dt is None else "; a smaller step may hold it, or it may have no attractor here"
        raise DivergedError(f"{name}: the trajectory{which} left for infinity by {when}{advice}")


def start_of(f: Field, x0: ArrayLike) -> Tensor:
    x = as_float64(x0, "x0")
    if not x.ndim or not x.numel():
        raise ValueError(f"x0: states [..., D] are expected; got {list(x.shape)}")
    if isinstance(f, Flow) and x.shape[-1] != f.dimension:
        raise ValueError(f"x0: {f.name} has {f.dimension} coordinates; got {x.shape[-1]}")
    return x


def sample_flow(
    flow: Flow,
    n: int,
    points_per_period: int = 100,
    *,
    start: ArrayLike | None = None,
    transient: float = 20.0,
    steps_per_period: int = _FINE,
    method: Literal["rk4", "radau"] = "rk4",
) -> Tensor:
    """``[..., n, D]`` observed states at even times, a period apart every ``points_per_period`` of them.

    Args:
        start: ``[..., D]``; the flow's own by default. transient: periods that are left out before.
        steps_per_period: at least so many steps of `rk4`. method: ``radau`` is SciPy's implicit solver at tolerances of
            1e-12, one start after the other: for stiff flows, and as the data base was made.

    Raises:
        DivergedError: a trajectory left for infinity, or the solver gave up.
        TypeError: no flow. ValueError: numbers that are none; a flow as `rk4` refuses it.
    """
    check_flow(flow)
    n, points_per_period = as_whole(n, "n", 2), as_whole(points_per_period, "points_per_period", 1)
    steps_per_period = as_whole(steps_per_period, "steps_per_period", 1)
    transient = as_not_negative(transient, "transient")
    x = start_of(flow, flow.start if start is None else start)
    if method == "radau":
        check_field(flow, x, flow.name)
        return flow.observe(_radau(flow, x, transient, n, points_per_period))
    if method != "rk4":
        raise ValueError(f"method: is rk4 or radau; got {method!r}")
    every = math.ceil(steps_per_period / points_per_period)
    dt = flow.period / (points_per_period * every)
    before = math.ceil(transient * points_per_period * every)
    if before:
        x = rk4(flow, x, dt, before, every=before)[..., -1, :]
    return flow.observe(rk4(flow, x, dt, (n - 1) * every, every=every))


def _radau(flow: Flow, x: Tensor, transient: float, n: int, points_per_period: int) -> Tensor:
    require("an implicit integrator", "physics")
    from scipy.integrate import solve_ivp

    times = (transient + torch.arange(n, dtype=torch.float64) / points_per_period) * flow.period
    found = []
    for state in x.reshape(-1, x.shape[-1]):
        solved = solve_ivp(
            lambda _, y: flow(torch.as_tensor(y)).numpy(),
            (0.0, float(times[-1])),
            state.numpy(),
            method="Radau",
            t_eval=times.numpy(),
            jac=lambda _, y: flow.jacobian(torch.as_tensor(y)).numpy(),
            rtol=1e-12,
            atol=1e-12,
        )
        if not solved.success:
            reached = float(solved.t[-1]) if len(solved.t) else 0.0
            raise DivergedError(f"{flow.name}: the solver stopped after time {reached:g}: {solved.message}")
        found.append(torch.from_numpy(solved.y.T.copy()))
    return torch.stack(found).view(*x.shape[:-1], n, x.shape[-1])


def starts_on_attractor(flow: Flow, count: int, *, apart: float = 5.0, transient: float = 20.0) -> Tensor:
    """``[count, D]`` states of one trajectory, ``apart`` periods from one another, after a transient in periods.

    Raises:
        DivergedError: the trajectory left for infinity.
        TypeError: no flow. ValueError: numbers that are none.
    """
    check_flow(flow)
    count, apart = as_whole(count, "count", 1), as_positive(apart, "apart")
    transient = as_not_negative(transient, "transient")
    dt, x = flow.period / _FINE, start_of(flow, flow.start)
    before, every = math.ceil(transient * _FINE), math.ceil(apart * _FINE)
    if before:
        x = rk4(flow, x, dt, before, every=before)[-1]
    return x[None] if count == 1 else rk4(flow, x, dt, (count - 1) * every, every=every)
