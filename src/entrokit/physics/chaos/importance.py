"""Training trajectories from where a forecaster errs: importance sampling of initial conditions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from entrokit.extras import require

from .checks import ArrayLike, as_float64, as_not_negative, as_states, as_whole
from .flow import Flow
from .integrate import sample_flow

__all__ = ["HardSeries", "hard_series", "importance_weights", "smooth_errors"]

# Points of a new trajectory that are left out, as the released code does.
_FIRST = 2


class HardSeries(NamedTuple):
    """New trajectories ``[count, points, D]``, and the ``[count]`` indices of the states that they start near."""

    states: Tensor
    indices: Tensor


def importance_weights(errors: ArrayLike, power: float = 4.0) -> Tensor:
    """Probabilities ``∝ errors ** power`` of ``[T]``; uniform where all errors are 0.

    Args:
        errors: smoothed squared errors, at least 0. power: 4 in arXiv 2110.05266; 0 is the uniform control.

    Raises:
        ValueError: no errors, a negative one, or not finite.
    """
    given = as_float64(errors, "errors")
    if given.ndim != 1 or not given.numel():
        raise ValueError(f"errors: [T], at least one, are expected; got {list(given.shape)}")
    if bool((given < 0).any()):
        raise ValueError(f"errors: at least 0 each, as squares are, is expected; the least is {given.amin():g}")
    power = as_not_negative(power, "power")
    largest = given.amax()
    if power == 0 or float(largest) == 0:
        return torch.full_like(given, 1 / len(given))
    weights = (given / largest) ** power
    return weights / weights.sum()


def smooth_errors(errors: ArrayLike, window: int = 51, order: int = 3) -> Tensor:
    """A Savitzky-Golay filter of one-step squared errors ``[T]``, negative values set to 0.

    Raises:
        ValueError: fewer errors than the window has points, or a window that is even or not above the order.
    """
    require("smoothed errors", "physics")
    from scipy.signal import savgol_filter

    given = as_float64(errors, "errors")
    window, order = as_whole(window, "window", 1), as_whole(order, "order", 0)
    if given.ndim != 1 or len(given) < window or window % 2 == 0 or window <= order:
        raise ValueError(
            f"errors: as many as the window at least, which is odd and above the order {order}, are expected; got "
            f"{list(given.shape)} and a window of {window}"
        )
    return torch.from_numpy(savgol_filter(given.cpu().numpy(), window, order)).clamp(min=0)


def hard_series(
    flow: Flow,
    states: ArrayLike,
    probabilities: ArrayLike,
    generator: torch.Generator | None = None,
    *,
    count: int = 10,
    points: int = 150,
    points_per_period: int = 100,
    noise: float = 0.005,
) -> HardSeries:
    """Trajectories from states of a reference, drawn with replacement and moved a little (arXiv 2110.05266).

    One round of its loop: ``importance_weights(smooth_errors(e))`` of a forecaster's one-step errors, these series,
    more training on them, and again.

    Args:
        states: ``[T, D]``, full states of the reference. probabilities: ``[T]``, as `importance_weights` gives them.
        noise: uniform in ± noise a coordinate. points: a trajectory; two more are made and the first two left out.

    Raises:
        DivergedError: a moved state left for infinity.
        TypeError: no flow. ValueError: as many probabilities as states are expected, and none below 0; other numbers
            that are none.
    """
    x, p = as_states(states, "states"), as_float64(probabilities, "probabilities")
    count, points = as_whole(count, "count", 1), as_whole(points, "points", 1)
    noise = as_not_negative(noise, "noise")
    if x.ndim != 2 or p.shape != x.shape[:1] or bool((p < 0).any()) or float(p.sum()) == 0:
        raise ValueError(f"probabilities: one of {len(x)} states each, not below 0, is expected; got {list(p.shape)}")
    indices = torch.multinomial(p, count, replacement=True, generator=generator)
    moved = torch.rand(count, x.shape[1], generator=generator, dtype=x.dtype, device=x.device) * 2 - 1
    made = sample_flow(flow, points + _FIRST, points_per_period, start=x[indices] + noise * moved, transient=0)
    return HardSeries(made[:, _FIRST:], indices)
