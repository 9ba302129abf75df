"""Correlation dimension of points: how the number of pairs within a radius grows with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from .checks import ArrayLike, as_float64, as_positive, as_states, as_whole

__all__ = ["correlation_dimension", "correlation_sum"]

# Distances that are held at a time.
_ENTRIES = 1 << 22


@torch.no_grad()
def correlation_sum(points: ArrayLike, radii: ArrayLike, *, theiler: int = 0) -> Tensor:
    """Share of pairs nearer than each radius, strictly, by Euclidean distance (Grassberger and Procaccia, 1983).

    Args:
        points: ``[N, D]`` in order of time. radii: ``[R]``, ascending. theiler: pairs no further apart in time than so
            many points are no pairs: on a finely sampled trajectory they say how smooth it is, not how it fills space.

    Returns:
        ``[R]``. All pairs i < j are looked at, in chunks: time N², memory linear.

    Raises:
        ValueError: fewer than two points further apart in time than ``theiler``; not finite; radii that do not rise.
    """
    theiler = as_whole(theiler, "theiler", 0)
    x = _points(points, theiler)
    at = as_float64(radii, "radii").to(x.device)
    if at.ndim != 1 or not len(at) or bool((at.diff() <= 0).any()) or float(at[0]) <= 0:
        raise ValueError("radii: [R], above 0 and ascending, are expected")
    counts = torch.zeros(len(at) + 1, dtype=torch.int64, device=x.device)
    for distances in _distances(x, theiler):
        counts += torch.bincount(torch.bucketize(distances, at, right=True), minlength=len(at) + 1)
    return counts.cumsum(0)[:-1].double() / counts.sum()


@torch.no_grad()
def correlation_dimension(
    points: ArrayLike,
    method: Literal["regression", "takens"] = "regression",
    r_min: float = 0.1,
    r_max: float = 0.5,
    *,
    radii: int = 24,
    theiler: int = 0,
) -> float:
    """Dimension D of ``C(r) ~ r^D``.

    Args:
        points: ``[N, D]``, states in order of time. method: ``regression``, the slope of ln C on ln r by least squares;
            ``takens``, ``-1 / mean ln(distance / radius)`` over pairs nearer than the radius, which is the maximum of
            the likelihood (Takens, 1985), and has no ``r_min``.
        r_min, r_max: in standard deviations of all coordinates together (n), as in arXiv 2110.05266. radii: logarithmic
            steps from one to the other. theiler: as `correlation_sum` has it.

    Raises:
        ValueError: points that are all the same, a range that is none, no pair within the smallest radius.
    """
    if method not in ("regression", "takens"):
        raise ValueError(f"method: is regression or takens; got {method!r}")
    r_min, r_max = as_positive(r_min, "r_min"), as_positive(r_max, "r_max")
    if r_min >= r_max:
        raise ValueError(f"r_min, r_max: 0 < r_min < r_max is expected; got {r_min:g} and {r_max:g}")
    radii, theiler = as_whole(radii, "radii", 2), as_whole(theiler, "theiler", 0)
    x = _points(points, theiler)
    scale = float(x.std(correction=0))
    if not 0 < scale < float("inf"):
        raise ValueError(
            f"points: their standard deviation is {scale:g}, which is no scale; all the same, or too large"
        )
    if method == "takens":
        return _takens(x, r_max * scale, theiler)
    at = torch.logspace(0, 1, radii, base=r_max / r_min, dtype=torch.float64, device=x.device) * (r_min * scale)
    share = correlation_sum(x, at, theiler=theiler)
    if float(share[0]) == 0:
        raise ValueError(
            f"r_min: no two of {len(x)} points are nearer than {float(at[0]):g}; a larger one, or more points"
        )
    log_r, log_c = at.log(), share.log()
    spread = log_r - log_r.mean()
    return float((spread * log_c).sum() / spread.square().sum())


def _takens(x: Tensor, radius: float, theiler: int) -> float:
    total, count = 0.0, 0
    for distances in _distances(x, theiler):
        near = distances[(distances > 0) & (distances < radius)]
        total, count = total + float((near / radius).log().sum()), count + len(near)
    if not count:
        raise ValueError(f"r_max: no two different points are nearer than {radius:g}; a larger one, or more points")
    return -count / total


def _points(points: ArrayLike, theiler: int) -> Tensor:
    x = as_states(points, "points", theiler + 2)
    if x.ndim != 2:
        raise ValueError(f"points: one trajectory [N, D] is expected; got {list(x.shape)}")
    return x


def _distances(x: Tensor, theiler: int) -> Iterator[Tensor]:
    """Of pairs i < j further apart than ``theiler``, chunks of rows at a time."""
    rows = max(1, _ENTRIES // len(x))
    for start in range(0, len(x) - theiler - 1, rows):
        block, others = x[start : start + rows], x[start + theiler + 1 :]
        distances = torch.cdist(block, others, compute_mode="donot_use_mm_for_euclid_dist")
        yield distances[torch.ones_like(distances, dtype=torch.bool).triu()]
