"""Sample entropy, crisp and fuzzy."""

from __future__ import annotations

import torch
from torch import Tensor

from entrokit.extras import require

from .box_pairs import count_close_pairs
from .checks import ArrayLike, as_float64, as_series, as_whole
from .kernel_pairs import sum_of_similarities

__all__ = ["sample_entropy"]

# Series that are worked on together: so many numbers, of short ones all pairs, of long ones some hundred a point.
_TOGETHER, _A_POINT = 1 << 23, 512


@torch.no_grad()
def sample_entropy(x: ArrayLike, m: int = 2, tolerance: float | Tensor | None = None, *, fuzzy: bool = False) -> Tensor:
    """``-ln(B / A)``: how rarely templates of ``m`` points that are alike stay alike one point longer, in nats.

    A and B are mean similarities of different templates of m and m + 1 points, ``T - m`` of either (Richman and
    Moorman, 2000). Crisp: 1 where no two points are further apart than the tolerance, closed; with m = 2 counted in
    T log² T, from m = 3 on by SciPy's k-d tree. Fuzzy (Chen et al., 2007, exponent 1): templates lose their means, and
    similarity is ``exp(-largest difference / tolerance)``; with m = 2 summed exactly in T log T, from m = 3 on over all
    pairs in chunks. Memory is linear in T up to a logarithm throughout.

    Args:
        x: ``[..., T]``, a tensor or an array. m: points of a template. tolerance: in the units of x, one number or one
            a series ``[...]``; by default 0.2 standard deviations (n - 1) of each series.

    Returns:
        ``[...]``, float64. Infinite where templates of m points are alike and none of m + 1 are.

    Raises:
        ValueError: too short, constant, or not finite; no two templates of m points alike, so that it is undefined.
    """
    m = as_whole(m, "m", 1)
    series = as_series(x, "x", m + 2)
    radius = tolerances(series, tolerance)
    a, b = similar_pairs(series.flatten(0, -2) if series.ndim > 1 else series[None], m, radius.flatten(), fuzzy=fuzzy)
    if bool((a == 0).any()):
        which = int((a == 0).nonzero()[0])
        raise ValueError(
            f"x: in series {which} no two templates of {m} points lie within {float(radius.flatten()[which]):g}: its "
            "sample entropy is undefined; a longer series or a larger tolerance has one"
        )
    return -(b / a).log().view(series.shape[:-1])


def tolerances(series: Tensor, tolerance: float | Tensor | None) -> Tensor:
    """One tolerance a series, ``[...]``.

    Raises:
        ValueError: another shape, one that is not above 0; no default, where a standard deviation over- or underflows.
    """
    if tolerance is None:
        radius = 0.2 * series.std(-1)
        if not bool(((radius > 0) & (radius < torch.inf)).all()):
            raise ValueError("x: a standard deviation is beyond what float64 holds; scale the series")
        return radius
    given = as_float64(tolerance, "tolerance").to(series.device)
    if given.shape not in ((), series.shape[:-1]):
        raise ValueError(f"tolerance: one number or one a series {list(series.shape[:-1])}; got {list(given.shape)}")
    if not bool((given > 0).all()):
        raise ValueError(f"tolerance: must be above 0; got {float(given.min())}")
    return given.expand(series.shape[:-1])


def similar_pairs(series: Tensor, m: int, tolerance: Tensor, *, fuzzy: bool) -> tuple[Tensor, Tensor]:
    """Similarity summed over pairs of templates of m and of m + 1 points, of ``[S, T]`` series; ``[S]`` each."""
    templates = series.unfold(1, m + 1, 1)
    count = sum_of_similarities if fuzzy else _close_pairs
    n = templates.shape[1]
    at_once = max(1, _TOGETHER // (n * min(n, _A_POINT)))
    sums = [
        (count(points[..., :m], radius), count(points, radius))
        for points, radius in zip(torch.split(templates, at_once), torch.split(tolerance, at_once), strict=True)
    ]
    return torch.cat([a.double() for a, _ in sums]), torch.cat([b.double() for _, b in sums])


def _close_pairs(points: Tensor, tolerance: Tensor) -> Tensor:
    """As `count_close_pairs`, of any length: beyond 3 through SciPy's k-d tree."""
    n, length = points.shape[1:]
    if length <= 3:
        return count_close_pairs(points, tolerance)
    require("sample entropy of m above 2", "physics")
    from scipy.spatial import cKDTree

    found = []
    for own, radius in zip(points.cpu().numpy(), tolerance.tolist(), strict=True):
        tree = cKDTree(own)
        found.append((int(tree.count_neighbors(tree, radius, p=float("inf"))) - n) // 2)
    return torch.tensor(found, device=points.device)
