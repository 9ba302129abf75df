"""What it costs to carry a point to another: pair by pair for training, all pairs for diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from entrokit.groups import widest

from ..checks import check_number, check_tensors

Cost = Literal["l2", "sqeuclidean", "l1"] | Callable[[Tensor, Tensor], Tensor]
"""``l2`` is the Euclidean distance, the paper's; a callable takes pairs ``[B, *]``, ``[B, *]`` and returns ``[B]``."""

NAMES = ("l2", "sqeuclidean", "l1")

_LEAST = torch.finfo(torch.float32).tiny

# Numbers of repeated points that a callable cost sees at a time.
_AT_ONCE = 1 << 22


@torch.no_grad()
def pair_costs(x: Tensor, y: Tensor, cost: Cost = "l2") -> Tensor:
    """``c(x_i, y_i)``, ``[B]``, of points ``[B, *]``; in float32 where they are narrower. Not differentiated.

    Raises:
        TypeError: points that are no tensors, a callable that returns none.
        ValueError: shapes, dtypes or devices that differ, an empty batch, integers, an unknown cost, a cost that is not
            finite.
    """
    check_pairs(x, y)
    check_cost(cost)
    x, y = _wide(x), _wide(y)
    found = cost(x, y) if callable(cost) else _named((x - y).reshape(len(x), -1), cost)
    check_tensors(**{"what the cost returns": found})
    if found.shape != x.shape[:1]:
        raise ValueError(f"cost: for {len(x)} pairs it must give [{len(x)}]; its shape is {list(found.shape)}")
    if not bool(found.isfinite().all()):
        at = int((~found.isfinite()).nonzero()[0])
        broken = [name for name, points in (("source", x), ("target", y)) if not bool(points[at].isfinite().all())]
        why = f": the {' and the '.join(broken)} there holds NaN or infinity" if broken else ""
        raise ValueError(f"the cost of pair {at} is {float(found[at])}{why}")
    return found


def cost_matrix(x: Tensor, y: Tensor, cost: Cost = "l2") -> Tensor:
    """``c(x_i, y_j)``, ``[N, M]`` in float64 (on Apple's GPUs float32), of points ``[N, *]`` and ``[M, *]``.

    Raises:
        TypeError, ValueError: as `pair_costs`; the numbers of points, and dtypes, may differ.
    """
    check_points("x", x)
    check_points("y", y)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"x, y: points need one shape; they are {list(x.shape[1:])} and {list(y.shape[1:])}")
    check_cost(cost)
    x, y = x.detach().to(widest(x)), y.detach().to(widest(y))
    for name, points in (("x", x), ("y", y)):
        if not bool(points.isfinite().all()):
            at = int((~points.isfinite()).reshape(len(points), -1).any(1).nonzero()[0])
            raise ValueError(f"{name}: point {at} holds NaN or infinity")
    if callable(cost):
        rows = max(1, _AT_ONCE // y.numel())
        parts = [
            pair_costs(part.repeat_interleave(len(y), 0), y.repeat(len(part), *[1] * (y.ndim - 1)), cost)
            for part in torch.split(x, rows)
        ]
        return torch.cat(parts).to(x).reshape(len(x), len(y))
    apart = torch.cdist(x.reshape(len(x), -1), y.reshape(len(y), -1), p=1.0 if cost == "l1" else 2.0)
    return apart.square() if cost == "sqeuclidean" else apart


def check_points(name: str, points: Tensor) -> None:
    """Refuses what is no batch of points."""
    check_tensors(**{name: points})
    if not points.ndim or not points.numel():
        raise ValueError(f"{name}: points [B, *] are expected, at least one; the shape is {list(points.shape)}")
    if not points.is_floating_point():
        raise ValueError(f"{name}: a floating dtype is expected, got {points.dtype}; convert it: {name}.float()")


def check_pairs(x: Tensor, y: Tensor, names: tuple[str, str] = ("x", "y")) -> None:
    """Refuses what are no batches of pairs; of another dtype one half would silently change what the model gets."""
    a, b = names
    check_points(a, x)
    check_points(b, y)
    if x.shape != y.shape:
        raise ValueError(f"{a}, {b}: pairs need one shape; they have {list(x.shape)} and {list(y.shape)}")
    if x.dtype != y.dtype or x.device != y.device:
        raise ValueError(
            f"{a}, {b}: pairs need one dtype and device; they have {x.dtype} on {x.device} and {y.dtype} on "
            f"{y.device}: take {b}.to({a})"
        )


def check_eps(eps: float) -> None:
    """Refuses what is no temperature; infinity is one, without any weighting."""
    check_number("eps", eps)
    if isinstance(eps, bool):
        raise ValueError(f"eps: must be above 0, a number and no switch; got {eps}")
    if not eps > 0:
        raise ValueError(f"eps: must be above 0, got {eps}; the paper takes κ √d in d dimensions")
    if eps < _LEAST:
        raise ValueError(f"eps: {eps} is 0 in float32; the paper takes κ √d in d dimensions")


def check_cost(cost: Cost) -> None:
    """Refuses a cost that has no such name."""
    if not callable(cost) and cost not in NAMES:
        hint = "; torchcfm's sigma is given by keyword, sigma=" if isinstance(cost, Real) else ""
        raise ValueError(f"cost: is one of {', '.join(NAMES)} or a callable; got {cost!r}{hint}")


def log_kernel(costs: Tensor, eps: float) -> Tensor:
    """``-costs / eps``, finite.

    Raises:
        ValueError: eps so small that the quotient overflows.
    """
    scaled = -costs / eps
    if not bool(scaled.isfinite().all()):
        raise ValueError(
            f"eps: costs of up to {float(costs.abs().max()):g} over {eps:g} overflow {costs.dtype}; raise it"
        )
    return scaled


def _named(apart: Tensor, name: str) -> Tensor:
    if name == "sqeuclidean":
        return apart.square().sum(1)
    norm: Tensor = torch.linalg.vector_norm(apart, 1 if name == "l1" else 2, dim=1)
    return norm


def _wide(points: Tensor) -> Tensor:
    """Squares of float16 overflow, and bfloat16 has no digits for distances that concentrate."""
    return points if points.dtype == torch.float64 else points.float()
