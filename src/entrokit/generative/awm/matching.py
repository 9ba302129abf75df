"""Rectified flows: paths from data to noise, and the matching loss read as a log-likelihood."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entrokit.groups import widest

from ..checks import check_numbers, check_tensors

__all__ = ["WEIGHTINGS", "interpolate", "matching_logp", "per_sample"]

_TINY = 1e-10

# How a mean squared error and its time become a log-likelihood; the last takes a power too.
WEIGHTINGS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "uniform": lambda error, t, power: -error,
    "t": lambda error, t, power: -error * t,
    "t**2": lambda error, t, power: -error * t**2,
    "huber": lambda error, t, power: -((error + _TINY).sqrt() - _TINY**0.5) * t,
    "ghuber": lambda error, t, power: -((error + _TINY) ** power - _TINY**power) * t / power,
}


def interpolate(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """``(1 - t) x0 + t noise``, shape of ``x0`` ``[B, *]``; ``t`` ``[B]`` in [0, 1], noise at 1.

    Half precision is mixed in float32 and rounded once.
    """
    check_path(x0, noise, t)
    shaped = per_sample(t, x0)
    return ((1 - shaped) * x0 + shaped * noise).to(torch.promote_types(x0.dtype, noise.dtype))


def matching_logp(
    v_pred: Tensor, x0: Tensor, noise: Tensor, t: Tensor, weighting: str = "uniform", power: float = 0.25
) -> Tensor:
    """The log-likelihood that AWM gives a sample: minus its weighted flow-matching loss.

    With ``e`` the mean over elements of ``(v_pred - (noise - x0)) ** 2``: ``uniform`` -e, ``t`` -e t, ``t**2`` -e t²,
    ``huber`` -(√(e + 1e-10) - 1e-5) t, ``ghuber`` (published runs) -((e + 1e-10)^p - 1e-10^p) t / p.

    Args:
        v_pred: ``[B, *]``, the velocity at ``interpolate(x0, noise, t)``, differentiable.
        x0, noise: ``[B, *]``. t: ``[B]`` in [0, 1], noise at 1.
        power: ``p`` of ``ghuber``, in (0, 1].

    Returns:
        ``[B]``, at most 0, float64 where the device has it, as ratios of exponentials need.

    Raises:
        TypeError: something that is no tensor.
        ValueError: shapes that differ, samples that are whole numbers, a time outside [0, 1], an unknown weighting.

    Source: Advantage Weighted Matching (arXiv 2509.25050), released code.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting {weighting!r} is not known; there are {', '.join(map(repr, WEIGHTINGS))}")
    check_numbers(power=power)
    if not 0 < power <= 1:
        raise ValueError(f"power must lie in (0, 1]; it is {power}")
    check_tensors(v_pred=v_pred)
    check_path(x0, noise, t)
    if v_pred.shape != x0.shape:
        raise ValueError(f"v_pred has shape {list(v_pred.shape)}, the samples {list(x0.shape)}; they must be the same")
    wide = widest(v_pred)
    error = (v_pred.to(wide) - (noise.to(wide) - x0.to(wide))).square().flatten(1).mean(1)
    return WEIGHTINGS[weighting](error, t.to(wide), power)


def per_sample(t: Tensor, like: Tensor) -> Tensor:
    """``t`` ``[B]`` shaped to multiply ``like`` ``[B, *]``, in its dtype, or float32 where that is shorter."""
    return t.to(at_least_single(like)).reshape(-1, *[1] * (like.ndim - 1))


def at_least_single(x: Tensor) -> torch.dtype:
    """The dtype of ``x``, or float32 where that is shorter: bfloat16 has no time between 0.992 and 0.996."""
    return torch.promote_types(x.dtype, torch.float32)


def check_path(x0: Tensor, noise: Tensor, t: Tensor) -> None:
    """Raises an error unless the three belong together."""
    check_tensors(x0=x0, noise=noise)
    if x0.ndim < 2 or not x0.numel():
        raise ValueError(f"samples [B, ...] are expected, none of the sizes 0; their shape is {list(x0.shape)}")
    if noise.shape != x0.shape:
        raise ValueError(f"noise has shape {list(noise.shape)}, the samples {list(x0.shape)}; they must be the same")
    for name, x in (("x0", x0), ("noise", noise)):
        if not x.is_floating_point():
            raise ValueError(f"{name} must be floating point, scaled as the model knows it; its dtype is {x.dtype}")
    check_times(t, len(x0))


def check_times(t: Tensor, samples: int) -> None:
    """Raises an error unless ``t`` is one time in [0, 1] for each of ``samples``."""
    check_tensors(t=t)
    if t.shape != (samples,):
        raise ValueError(f"t must give one time a sample, [{samples}]; its shape is {list(t.shape)}")
    outside = ~((t >= 0) & (t <= 1))
    if bool(outside.any()):
        at = int(outside.nonzero()[0, 0])
        raise ValueError(f"times lie in [0, 1], data at 0 and noise at 1; that of sample {at} is {float(t[at])}")
