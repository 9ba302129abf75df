"""The baseline: every denoising step is a Gaussian policy (DDPO, Flow-GRPO), and what that is a matching loss of.

Rectified flow, noise at t = 1, a reverse step of length ``dt`` from t to t - dt. With noise level ``a`` the step has
variance ``a² t / (1 - t) dt``; ``a = √2`` is the paper's, 0.7 Flow-GRPO's. Times count as at most 0.99 in ``1 - t``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entrokit.groups import widest

from ..checks import check_numbers, check_tensors
from .matching import at_least_single, check_times, per_sample

__all__ = ["ddpo_step", "ddpo_step_logp", "ddpo_target_score", "score_of_velocity", "target_variance"]


def score_of_velocity(velocity: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The score ``-(x_t + (1 - t) v) / t``, ``[B, *]``; ``t`` ``[B]`` above 0."""
    _check(x_t, t, velocity=velocity)
    at = per_sample(t, x_t)
    return -(x_t + (1 - at) * velocity) / at


def ddpo_step(
    velocity: Tensor, x_t: Tensor, t: Tensor, dt: float, noise_level: float = math.sqrt(2)
) -> tuple[Tensor, Tensor]:
    """Mean ``[B, *]`` and standard deviation ``[B]`` of a reverse step, of the dtype of ``x_t``, at least float32.

    Args:
        velocity, x_t: ``[B, *]``. t: ``[B]`` in (0, 1]. dt: length of the step, above 0, and at most the least time.
        noise_level: at least 0, finite; 0 is the Euler step of the ODE.

    Raises:
        ValueError: shapes that differ, a time or a step out of range.
    """
    _check(x_t, t, velocity=velocity)
    _check_dt(dt, t)
    check_numbers(noise_level=noise_level)
    if not 0 <= noise_level < math.inf:
        raise ValueError(f"noise_level is finite and at least 0; it is {noise_level}")
    t = t.to(at_least_single(x_t))
    rate = noise_level**2 * t / (1 - t.clamp(max=0.99))
    at, half = per_sample(t, x_t), per_sample(rate / (2 * t), x_t)
    mean = x_t - (velocity + half * (x_t + (1 - at) * velocity)) * dt
    return mean, (rate * dt).sqrt()


def ddpo_step_logp(
    velocity: Tensor, x_t: Tensor, x_next: Tensor, t: Tensor, dt: float, noise_level: float = math.sqrt(2)
) -> Tensor:
    """Log-density (nats) of the step to ``x_next``, summed over elements: ``[B]``, float64 where the device has it.

    Flow-GRPO's code takes the mean over elements; divide by their number for it. Arguments as of `ddpo_step`, with a
    ``noise_level`` above 0.

    Raises:
        ValueError: shapes that differ, a time or a step out of range, a step without noise, which has no density.
    """
    _check(x_t, t, velocity=velocity, x_next=x_next)
    check_numbers(noise_level=noise_level)
    if not noise_level > 0:
        raise ValueError(f"a step without noise has no density: noise_level must be above 0; it is {noise_level}")
    mean, std = ddpo_step(velocity, x_t, t, dt, noise_level)
    wide = widest(mean)
    squares = (x_next.to(wide) - mean.to(wide)).square().flatten(1)
    variance = std.to(wide).square()
    return -squares.sum(1) / (2 * variance) - 0.5 * squares.shape[1] * (2 * math.pi * variance).log()


def ddpo_target_score(x_t: Tensor, x_next: Tensor, t: Tensor, dt: float) -> Tensor:
    """The score to which `ddpo_step_logp` with ``a = √2`` regresses the model's: that of noising ``x_next``.

    ``‖x_next - mean‖² / (2 Σ²) = (Σ² / 2) ‖score - this‖²`` exactly, for ``t`` up to 0.99.

    Raises:
        ValueError: shapes that differ, a time above 0.99, a step that is not above 0.
    """
    _check(x_t, t, x_next=x_next)
    _check_dt(dt, t)
    if bool((t > 0.99 + 1e-6).any()):
        raise ValueError(f"above t = 0.99 no score is a step's target; there is a time of {float(t.max()):g}")
    at = per_sample(t, x_t)
    return -(x_t - x_next + x_t * dt / (1 - at)) / (2 * at / (1 - at) * dt)


def target_variance(s: float, t: float, std: float = 1.0) -> float:
    """Variance, a dimension, of ``∇ log p(x_t | x_s)`` around its mean given ``x_t``, for data ``N(0, std²)``.

    A score is learnt from such targets: from the data at s = 0 (matching, AWM), from the sampler's neighbour at
    s = t - dt (DDPO). It grows like 1 / (t - s).

    Raises:
        ValueError: not ``0 <= s < t < 1``, or ``std`` not above 0.
    """
    if not 0 <= s < t < 1 or not std > 0:
        raise ValueError(f"0 <= s < t < 1 and std above 0 are expected; they are {s}, {t} and {std}")
    shrunk = (1 - t) / (1 - s)
    added = t**2 - s**2 * shrunk**2
    before = (1 - s) ** 2 * std**2 + s**2
    return shrunk**2 * before / ((shrunk**2 * before + added) * added)


def _check_dt(dt: float, t: Tensor) -> None:
    check_numbers(dt=dt)
    if not 0 < dt < math.inf:
        raise ValueError(f"dt is the length of a step, finite and above 0; it is {dt}")
    # Times of half precision are off by up to a share of 0.4 %.
    beyond = t * 1.01 < dt
    if bool(beyond.any()):
        raise ValueError(
            f"a step of dt = {float(dt):g} from t = {float(t[beyond][0]):g} passes the data, which are at 0: steps are "
            "in units of t, not of a scheduler's 1000"
        )


def _check(x_t: Tensor, t: Tensor, **others: Tensor) -> None:
    check_tensors(x_t=x_t, **others)
    for name, other in others.items():
        if other.shape != x_t.shape:
            raise ValueError(f"{name} has shape {list(other.shape)}, x_t {list(x_t.shape)}; they must be the same")
    check_times(t, len(x_t))
    if bool((t <= 0).any()):
        raise ValueError("a time of 0 is data: there is no step from it, and no score of noise")
    if not torch.is_floating_point(x_t):
        raise ValueError(f"x_t must be floating point; its dtype is {x_t.dtype}")
