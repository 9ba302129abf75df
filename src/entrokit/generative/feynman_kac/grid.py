"""At which times to step: evenly by how much noise goes, not by t."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from ..noising import Noising, check_noising

__all__ = ["noise_clock", "time_grid"]


def noise_clock(noising: Noising, t: Tensor, data_std: float = 1.0) -> Tensor:
    """``log(1 + σ² / (α s)²)``, of t's shape; s is ``data_std``.

    With s = 1 that is the integral of a variance preserving process's rate from 0 to t.
    """
    return torch.log1p((noising.sigma(t) / (noising.alpha(t) * data_std)) ** 2)


def time_grid(noising: Noising, steps: int, end: float = 1e-3, data_std: float = 1.0) -> Tensor:
    """``[steps + 1]`` times from 1 down to ``end``, in equal steps of `noise_clock`; float64.

    Steps of equal t are stiff near 1, where the law is that of noise and the rate largest; a clock with the width of
    the narrowest modes for ``data_std`` spares steps for the end, where these take shape.

    Raises:
        TypeError: something that is no noising process, a number of steps that is not whole.
        ValueError: fewer than one step, an end outside [0, 1), a ``data_std`` that is not finite and above 0.
    """
    check_noising("noising", noising)
    if not isinstance(steps, Integral):
        raise TypeError(f"steps is a whole number; it is {steps!r}")
    if steps < 1:
        raise ValueError(f"steps is at least 1; it is {steps}")
    if not 0 <= end < 1:
        raise ValueError(f"end is a time in [0, 1), data at 0; it is {end}")
    if not 0 < data_std < float("inf"):
        raise ValueError(f"data_std must be finite and above 0; it is {data_std}")
    ends = torch.tensor([1.0, end], dtype=torch.float64)
    first, last = noise_clock(noising, ends, data_std).tolist()
    wanted = torch.linspace(first, last, steps + 1, dtype=torch.float64)
    low, high = torch.full_like(wanted, end), torch.ones_like(wanted)
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = noise_clock(noising, middle, data_std) > wanted
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    times = 0.5 * (low + high)
    times[0], times[-1] = 1.0, end
    return times


def mean_rates(noising: Noising, now: float, then: float) -> tuple[float, float]:
    """``a`` and ``g ** 2`` on average over a step from ``now`` down to ``then``.

    By ``g² dt = dσ² - 2 σ² d log α``, with the mean of both ends for the second σ²: exact without a drift, as in
    variance exploding processes, and of second order otherwise.
    """
    ends = torch.tensor([now, then], dtype=torch.float64)
    log_alpha, variance = noising.alpha(ends).log(), noising.sigma(ends).square()
    fall = float(log_alpha[0] - log_alpha[1])
    noise = float(variance[0] - variance[1]) - float(variance.sum()) * fall
    return fall / (now - then), noise / (now - then)


def checked_times(times: Tensor | Sequence[float]) -> Tensor:
    """Float64 times from first to last step.

    Raises:
        ValueError: fewer than two, one outside [0, 1], or one that does not lie below the one before it.
    """
    found = torch.as_tensor(times, dtype=torch.float64).detach().cpu()
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"times are a list of at least two, or an int is how many steps; shape {list(found.shape)}")
    outside = (~((found >= 0) & (found <= 1))).nonzero()
    if len(outside):
        i = int(outside[0])
        raise ValueError(f"times lie in [0, 1], data at 0 and noise at 1; time {i} is {float(found[i])}")
    rising = (found[1:] >= found[:-1]).nonzero()
    if len(rising):
        i = int(rising[0]) + 1
        raise ValueError(f"times fall from noise to data; time {i} is {float(found[i])}, after {float(found[i - 1])}")
    return found
