"""Noise becomes data: the reverse process, and the flow of the same marginals (Song et al., arXiv 2011.13456)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..noising import Noising, check_noising
from .checks import check_count, check_finite, check_points, check_scored, scores_of, wide

__all__ = ["sample_flow", "sample_sde"]

END = 1e-5
# Of so many standard normal numbers a root mean square outside [0.5, 2] has a chance below 2e-9 (Chernoff's bound).
ENOUGH = 64


def sample_sde(
    model: Any,
    noise: Tensor,
    sde: Noising,
    *,
    steps: int = 500,
    end: float = END,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Samples ``[B, *]`` by Euler-Maruyama steps of equal length of the reverse process, from t = 1 to ``end``.

    Points of half precision are kept in float32 between steps; the model sees points and times in their dtype.

    Args:
        model: with ``score(x, t)``, or called so.
        noise: ``[B, *]``, standard normal: unit noise, whatever the process. ``sigma(1)`` multiplies it here.

    Raises:
        TypeError: what is no tensor, no process of noising or no score where one is expected.
        ValueError: points that are none, no step, an ``end`` outside [0, 1), scores of another shape or not finite.

    Warns:
        UserWarning: noise whose root mean square is not near 1, such as that of a variance exploding prior.
    """

    def shake(x: Tensor) -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)

    return _backward(model, noise, sde, steps, end, shake)


def sample_flow(model: Any, noise: Tensor, sde: Noising, *, steps: int = 500, end: float = END) -> Tensor:
    """As `sample_sde` without noise in the steps: Euler's method on the probability flow."""
    return _backward(model, noise, sde, steps, end, None)


@torch.no_grad()
def _backward(
    model: Any, noise: Tensor, sde: Noising, steps: int, end: float, shake: Callable[[Tensor], Tensor] | None
) -> Tensor:
    check_points(noise, name="noise")
    _warn_of_scale(noise)
    check_noising("sde", sde)
    check_scored(model)
    if check_count("steps", steps) < 1 or not 0 <= end < 1:
        raise ValueError(f"at least one step to an end in [0, 1) is expected; got {steps} steps to {end}")
    step = (1 - end) / steps
    share = 0.5 if shake is None else 1.0
    x = noise.to(wide(noise))
    x = x * sde.sigma(torch.ones((), dtype=x.dtype, device=x.device))
    for i in range(steps):
        t = torch.full((), 1 - i * step, dtype=x.dtype, device=x.device)
        squared = sde.squared_diffusion(t)
        score = scores_of(model, x.to(noise.dtype), t.to(noise.dtype).expand(len(x))).to(x.dtype)
        x = x - step * (sde.drift(t) * x - share * squared * score)
        if shake is not None:
            x = x + (step * squared).sqrt() * shake(x)
    found = x.to(noise.dtype)
    check_finite(found, "a sample", noise, torch.full((len(x),), end))
    return found


def _warn_of_scale(noise: Tensor) -> None:
    size = float(noise.to(wide(noise)).square().mean().sqrt()) if noise.numel() >= ENOUGH else 1.0
    if size < 0.5 or size > 2:
        # Between the caller and us are the function, `_backward` and its no_grad.
        warnings.warn(
            f"noise has a root mean square of {size:.3g}; unit noise is expected, whatever the process, and sigma(1) "
            "multiplies it here: take torch.randn of the shape",
            stacklevel=5,
        )
