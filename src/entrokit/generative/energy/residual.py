"""How far a model's log-densities are from obeying the Fokker-Planck equation.

Consistent Sampling and Simulation (arXiv 2506.17139). With dx = a(t) x dt + g(t) dW in D dimensions, log p obeys
∂_t log p = F = g² (div s + |s|²) / 2 - a <x, s> - a D. The residual is F - ∂_t log q, nats per unit of time.

Of an energy that is not normalised it is off by a number of each time, which a model is free to learn.
"""

from __future__ import annotations

from numbers import Integral
from typing import Literal

import torch
from torch import Tensor

from ..checks import check_tensors
from ..noising import Noising, check_noising
from .checks import as_times, check_finite, check_points, check_step
from .model import EnergyModel, log_q_gradients

__all__ = [
    "BACKWARD",
    "FORWARD",
    "check_digits",
    "check_inside",
    "default_step",
    "fp_residual",
    "fp_residual_weak",
    "residual_along",
    "residual_of",
    "signs_like",
    "smooth_range",
]

TimeDerivative = Literal["autograd", "fd"]
# The official code's steps in time.
BACKWARD, FORWARD = 1e-3, 5e-4


def fp_residual(
    model: EnergyModel,
    x: Tensor,
    t: Tensor | float,
    sde: Noising,
    *,
    div: Literal["exact"] | int = "exact",
    dt: TimeDerivative = "autograd",
    generator: torch.Generator | None = None,
) -> Tensor:
    """The residual ``[B]`` with second derivatives: to check with, since it costs D passes backward.

    Args:
        x: points ``[B, *]``. t: their times ``[B]``, or one of all.
        div: ``exact``, or of how many of Hutchinson's probes the mean is. Its square is then biased; see
            `fp_residual_weak`.
        dt: the derivative in time by ``autograd``, or by differences (``fd``) of 1e-3 backward and 5e-4 forward.

    Raises:
        TypeError: a model without energy.
        ValueError: points, times or knobs that are none; times whose differences leave the range in which the model
            is smooth; what is not finite, and where.
    """
    if div != "exact" and (not isinstance(div, Integral) or isinstance(div, bool) or div < 1):
        raise ValueError(f"div is 'exact' or a number of probes, at least 1; it is {div!r}")
    training = torch.is_grad_enabled()
    check_noising("sde", sde)
    times = _checked_times(model, x, t, dt)
    with torch.inference_mode(False), torch.enable_grad():
        x, times = (v.clone() if v.is_inference() else v for v in (x, times))
        x = x if x.requires_grad else x.detach().requires_grad_()
        log_q, score, moved = log_q_gradients(model, x, times, create_graph=True, in_time=dt == "autograd")
        if dt == "fd":
            moved = _differences(model, x, times, log_q)
        spread = _exact_divergence(score, x) if div == "exact" else _probed_divergence(score, x, div, generator)
        residual = residual_of(x, times, sde, score, spread, moved)
    check_finite(residual, "the residual", x, times)
    return residual if training else residual.detach()


def fp_residual_weak(
    model: EnergyModel,
    x: Tensor,
    t: Tensor | float,
    sde: Noising,
    *,
    sigma: float | None = None,
    dt: TimeDerivative = "fd",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Two independent estimates of the residual, ``[B]`` each, without second derivatives: `residual_along` two steps.

    Each has the residual as its mean, but for O(sigma²), so their product has its square as its mean; a square of one
    has not. Eight evaluations a point, in two calls: four of scores, four of energies.

    Args:
        sigma: of the steps' entries, which are normal; by default 1e-4 in float64 and 1e-3 in float32, where 1e-4
            would lose three digits.
    """
    step = default_step(check_digits(x)) if sigma is None else sigma
    noise = torch.randn(2, *check_digits(x).shape, dtype=x.dtype, device=x.device, generator=generator)
    first, second = residual_along(model, x, t, sde, step * noise, sigma=step, dt=dt)
    return first, second


def residual_along(
    model: EnergyModel,
    x: Tensor,
    t: Tensor | float,
    sde: Noising,
    steps: Tensor,
    *,
    sigma: float,
    dt: TimeDerivative = "fd",
) -> Tensor:
    """The weak residual ``[K, B]`` for steps v ``[K, B, *]`` that were drawn with standard deviation ``sigma``.

    g² (v·(s(x + v) - s(x - v)) / (2 sigma²) + |s(x + v)|²) / 2 - a <x + v, s(x + v)> - a D - ∂_t log q(x + v).

    Raises:
        TypeError, ValueError: as `fp_residual`; a ``sigma`` that is not above 0, or steps of another shape.

    Warns:
        UserWarning: a ``sigma`` below 16 roundings of the largest coordinate: differences are then noise.
    """
    check_noising("sde", sde)
    check_tensors(steps=steps)
    times = _checked_times(model, x, t, dt)
    check_step(x, sigma)
    count = steps.shape[0]
    if steps.shape != (count, *x.shape) or count < 1:
        raise ValueError(f"steps [K, {', '.join(map(str, x.shape))}] are expected; their shape is {list(steps.shape)}")
    ahead, behind = (x + steps).flatten(0, 1), (x - steps).flatten(0, 1)
    at = times.repeat(count)
    log_q, scores, moved = log_q_gradients(
        model, torch.cat([ahead, behind]), at.repeat(2), create_graph=torch.is_grad_enabled(), in_time=dt == "autograd"
    )
    score, other = scores.chunk(2)
    spread = _dot(steps.flatten(0, 1), score - other) / (2 * sigma**2)
    moved = _differences(model, ahead, at, log_q.chunk(2)[0]) if dt == "fd" else moved.chunk(2)[0]
    residual = residual_of(ahead, at, sde, score, spread, moved)
    check_finite(residual, "the residual", ahead, at)
    return residual.reshape(count, -1)


def smooth_range(model: object, t: Tensor) -> tuple[Tensor, Tensor]:
    """The times around each of ``t`` ``[B]`` in which the model is one smooth function of time; [0, 1] by default."""
    own = getattr(model, "smooth_range", None)
    if own is None:
        return torch.zeros_like(t), torch.ones_like(t)
    low, high = own(t)
    return low, high


def default_step(x: Tensor) -> float:
    """Steps in x: what is left of differences and what they leave out balance."""
    return 1e-4 if x.dtype == torch.float64 else 1e-3


def check_digits(x: Tensor) -> Tensor:
    """Points ``[B, *]``; raises ValueError where they are none, or of half precision."""
    if check_points(x).dtype not in (torch.float32, torch.float64):
        raise ValueError(f"residuals are differences that {x.dtype} has not the digits for; use float32 or float64")
    return x


def residual_of(x: Tensor, t: Tensor, sde: Noising, score: Tensor, divergence: Tensor, moved: Tensor) -> Tensor:
    """F - ∂_t log q, ``[B]``, of scores ``[B, *]``, their divergence ``[B]`` and ∂_t log q ``[B]``."""
    drift, half = sde.drift(t), 0.5 * sde.squared_diffusion(t)
    flow = half * (divergence + _dot(score, score)) - drift * (_dot(x, score) + x.flatten(1).shape[1])
    return flow - moved


def _checked_times(model: object, x: Tensor, t: Tensor | float, dt: str) -> Tensor:
    if dt not in ("autograd", "fd"):
        raise ValueError(f"dt is 'autograd' or 'fd'; it is {dt!r}")
    times = as_times(t, check_digits(x))
    check_inside(model, times, *((BACKWARD, FORWARD) if dt == "fd" else (0.0, 0.0)))
    return times


def check_inside(model: object, t: Tensor, backward: float, forward: float) -> None:
    """Raises ValueError: a difference in time from one of ``t`` would leave the model's smooth range."""
    low, high = smooth_range(model, t)
    # A time that is the border itself, less its own rounding.
    slack = 4 * torch.finfo(t.dtype).eps
    outside = (t - backward < low - slack) | (t + forward > high + slack)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"the derivative in time at t = {float(t[row]):.6g} (row {row}) takes {backward:g} backward and "
            f"{forward:g} forward, and the model is smooth from {float(low[row]):g} to {float(high[row]):g} there; "
            "keep times that far inside" + (", or take dt='autograd'" if backward else "")
        )


def _differences(model: EnergyModel, x: Tensor, t: Tensor, log_q: Tensor) -> Tensor:
    """∂_t log q ``[B]``, of second order in steps that are not equal."""
    times = torch.cat([t + FORWARD, t - BACKWARD]).clamp(0, 1)
    later, earlier = model.log_q(torch.cat([x, x]), times).chunk(2)
    s, d = BACKWARD**2, FORWARD**2
    return (s * later + (d - s) * log_q - d * earlier) / (BACKWARD * FORWARD * (BACKWARD + FORWARD))


def _exact_divergence(score: Tensor, x: Tensor) -> Tensor:
    flat = score.flatten(1)
    total = torch.zeros_like(flat[:, 0])
    for i in range(flat.shape[1]):
        total = total + _gradient(flat[:, i].sum(), x).flatten(1)[:, i]
    return total


def _probed_divergence(score: Tensor, x: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    total = torch.zeros_like(score.flatten(1)[:, 0])
    for _ in range(count):
        probe = signs_like(x, generator)
        total = total + _dot(_gradient((score * probe).sum(), x), probe)
    return total / count


def _gradient(value: Tensor, x: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(value, x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def signs_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """-1 and 1: the probes of least variance."""
    return torch.randint(0, 2, x.shape, device=x.device, generator=generator).to(x.dtype) * 2 - 1


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)
