"""At which times a sample is noised again for training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import check_numbers, check_whole

__all__ = ["LAWS", "training_times"]

LAWS = ("discrete_wo_init", "discrete", "discrete_with_init", "uniform", "logit_normal")


def training_times(
    samples: int,
    count: int,
    *,
    steps: int = 14,
    fraction: float = 0.9,
    law: str = "discrete_wo_init",
    shift: float = 3.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``[samples, count]`` times, noise at 1.

    ``discrete...`` are times ``1 - i / steps`` of a sampler of ``steps`` even steps: its indices up to
    ``floor(steps * fraction)`` are cut into ``count`` even strata, from each of which one is drawn.
    ``discrete_wo_init`` leaves out index 0 (pure noise), ``discrete`` does not, ``discrete_with_init`` has it always.
    ``uniform`` draws from [0.01, 1), ``logit_normal`` ``u = sigmoid(z)`` moved to ``s u / (1 + (s - 1) u)`` and held to
    at least 0.01.

    Args:
        count: times a sample. steps, fraction: of the sampler; ``fraction`` in (0, 1]. shift: ``s``, above 0, finite.
        generator: its device is that of the times; the CPU without one.

    Raises:
        TypeError: a count that is no whole number, a knob that is no number.
        ValueError: an unknown law; more times than there are indices; a knob out of range.

    Source: Advantage Weighted Matching (arXiv 2509.25050), released code.
    """
    if law not in LAWS:
        raise ValueError(f"law {law!r} is not known; there are {', '.join(map(repr, LAWS))}")
    check_whole(samples=samples, count=count, steps=steps)
    check_numbers(fraction=fraction, shift=shift)
    if samples < 1 or count < 1 or steps < 1:
        raise ValueError(f"samples, count and steps are at least 1; they are {samples}, {count} and {steps}")
    if not 0 < fraction <= 1 or not 0 < shift < math.inf:
        raise ValueError(f"fraction lies in (0, 1] and shift is finite and above 0; they are {fraction} and {shift}")
    device = torch.device("cpu") if generator is None else generator.device
    if law == "uniform":
        return 0.01 + 0.99 * torch.rand(samples, count, generator=generator, device=device)
    if law == "logit_normal":
        u = torch.randn(samples, count, generator=generator, device=device).sigmoid()
        return (shift * u / (1 + (shift - 1) * u)).clamp(min=0.01)
    first = 0 if law == "discrete" else 1
    # 100 * 0.29 is 28.999...
    last = min(int(steps * fraction + 1e-9), steps - 1)
    drawn = count - 1 if law == "discrete_with_init" else count
    if last - first + 1 < max(drawn, 1):
        raise ValueError(
            f"{drawn} times are to be drawn from sampler indices {first} to {last}: take fewer times (count), or more "
            f"steps or a larger fraction than {steps} and {fraction}"
        )
    edges = torch.linspace(first, last + 1, drawn + 1, device=device) if drawn else torch.zeros(1, device=device)
    within = torch.rand(samples, drawn, generator=generator, device=device)
    index = (edges[:-1] + within * edges.diff()).floor().clamp(max=last)
    if law == "discrete_with_init":
        index = torch.cat([torch.zeros(samples, 1, device=device), index], 1)
    return 1 - index / steps
