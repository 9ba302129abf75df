"""Gibbs weights of independent pairs, and the flow-matching loss that they weigh."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from entrokit.groups import widest

from ..checks import check_tensors
from .costs import Cost, check_eps, check_points, pair_costs


class Potentials(NamedTuple):
    """Logarithms of the factors f̂ of the source and ĝ of the target: each takes points ``[B, *]``, gives ``[B]``."""

    source: Callable[[Tensor], Tensor]
    target: Callable[[Tensor], Tensor]


Normalize = Literal["batch"] | float | None
"""``"batch"`` divides weights by their mean; a number is ``log Z`` and divides by Z; None leaves them as they are."""


@torch.no_grad()
def gibbs_weights(
    x: Tensor,
    y: Tensor,
    eps: float,
    cost: Cost = "l2",
    normalize: Normalize = "batch",
    potentials: Potentials | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    """``exp(-c(x, y) / eps)`` of every pair, ``[B]``: near pairs count, far pairs do not (arXiv 2507.22270).

    With ``potentials`` it is ``f̂(x) ĝ(y) exp(-c / eps)``. Taken in the log domain; not differentiated. The dtype is
    the points' own, float32 where they are narrower.

    Dividing by the mean of the batch keeps the scale of gradients, at the price of a ratio of means: exact as the batch
    grows, and plain flow matching (weight 1) in a batch of one pair. Under small micro-batches give ``log_Z`` of
    `tilt_diagnostics` instead, which is the same number for all of them.

    Args:
        x: ``[B, *]``, of the source. y: the same shape, of the target, independent of x.
        eps: temperature in units of the cost; infinity gives weight 1.
        cost: ``l2`` (the paper's Euclidean distance, not squared), ``sqeuclidean``, ``l1``, or a callable of pairs.
        normalize: see `Normalize`; of `tilt_diagnostics` its ``log_Z``, not ``Z``, which no check can tell from it.
        potentials: log-factors, e.g. of `sinkhorn_potentials` for the same eps and cost.

    Raises:
        TypeError: eps that is no number, points or log-factors that are no tensors, potentials that are not two
            callables.
        ValueError: eps that is not above 0, points as `pair_costs` refuses them, potentials that are not finite, not
            ``[B]`` or made for another eps, cost or side, weights that are all 0 or infinite (without ``"batch"``):
            says by how much they underflow.
    """
    check_eps(eps)
    check_normalize(normalize)
    costs = pair_costs(x, y, cost)
    if normalize == "batch":
        # Of the smallest the quotient is 0 however small eps is.
        costs = costs - costs.min()
    log_weight = -costs / eps
    if potentials is not None:
        check_potentials(potentials, eps, cost)
        for name, factor, points in zip(("source", "target"), potentials, (x, y), strict=True):
            log_weight = log_weight + log_factor(name, factor, points).to(log_weight)
    if normalize == "batch":
        # Of equal weights the mean is exact, so that an infinite eps is plain flow matching bit for bit.
        weight = (log_weight - log_weight.max()).exp()
        return weight / weight.mean()
    scaled = log_weight if normalize is None else log_weight - float(normalize)
    weight = scaled.exp()
    largest = float(weight.max())
    if not 0 < largest < math.inf:
        what = "underflow to 0" if largest == 0 else "overflow"
        raise ValueError(
            f"weights {what}: the largest is exp({float(scaled.max()):.4g}) in {weight.dtype}; "
            f"take normalize='batch' or log Z, or an eps larger than {eps:g}"
        )
    return weight


def check_potentials(
    potentials: Potentials | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]], eps: float, cost: Cost
) -> None:
    """Refuses what are no two callables, and factors of `sinkhorn_potentials` for another eps, cost or side."""
    if not (isinstance(potentials, (tuple, list)) and len(potentials) == 2 and all(map(callable, potentials))):
        raise TypeError(
            "potentials: two callables are expected, log-factors of the source and of the target, as "
            f"sinkhorn_potentials gives; got a {type(potentials).__name__}"
        )
    for side, factor in zip(("source", "target"), potentials, strict=True):
        for name, wanted in (("eps", eps), ("cost", cost), ("of_source", side == "source")):
            made = getattr(factor, name, wanted)
            if made != wanted:
                raise ValueError(
                    f"potentials: the factor of the {side} was made with {name} = {made!r}, and {wanted!r} is asked "
                    "for: call sinkhorn_potentials(source, target, eps, cost) with the same"
                )


def weighted_flow_loss(velocity: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over the batch of ``weight * |velocity - target|²``, squares summed over all but the first axis.

    **The sum over a point's elements is the paper's loss; torchcfm's line takes their mean, which is this over their
    number.** Adam's steps do not see the factor; a rate of SGD, and a norm to which gradients are clipped, do.

    Args:
        velocity: ``[B, *]``, the model's. target: the same shape, ``y - x``. weight: ``[B]``, of `gibbs_weights`.

    Raises:
        TypeError: something that is no tensor.
        ValueError: shapes that differ, which would broadcast into another loss; an empty batch; a loss that is not
            finite, with what made it so.
    """
    check_tensors(velocity=velocity, weight=weight)
    check_points("target", target)
    if velocity.shape != target.shape or weight.shape != target.shape[:1]:
        raise ValueError(
            f"velocity, target [B, *] and weight [B] are expected; their shapes are {list(velocity.shape)}, "
            f"{list(target.shape)} and {list(weight.shape)}"
        )
    off = (velocity - target).reshape(len(target), -1)
    # Float16 has no room for a sum of squares.
    off = off if off.dtype == torch.float64 else off.float()
    loss = (weight * off.square().sum(1)).mean()
    if not bool(loss.detach().isfinite()):
        raise ValueError(f"the loss is {float(loss.detach())}: {_what_broke(velocity, target, weight)}")
    return loss


def effective_share(weight: Tensor) -> Tensor:
    """``(Σ w)² / (B Σ w²)``, the share of pairs that count: 1 where all weigh alike, 1/B where one has all weight.

    For logging: a scalar that stays on its device, so that nothing waits until it is read. 0 where all weights are 0.

    Args:
        weight: ``[B]``, at least 0, of `gibbs_weights`.
    """
    check_points("weight", weight)
    weight = weight.detach().to(widest(weight))
    least = torch.finfo(weight.dtype).tiny
    # Weights of 1e-30 have no squares in float32.
    scaled = weight / weight.max().clamp_min(least)
    return scaled.sum().square() / (len(scaled) * scaled.square().sum()).clamp_min(least)


def _what_broke(velocity: Tensor, target: Tensor, weight: Tensor) -> str:
    for name, values, advice in (
        ("the model's velocity", velocity, "it diverged, or its parameters hold NaN: lower the rate, clip gradients"),
        ("the target", target, "look at the data"),
        ("the weight", weight, "see what it was made of"),
    ):
        bad = ~values.detach().isfinite().reshape(len(values), -1).all(1)
        if bool(bad.any()):
            at = int(bad.nonzero()[0])
            return f"{name} is NaN or infinite in {int(bad.sum())} of {len(values)} samples, first in {at}; {advice}"
    return f"squares overflow; the largest velocity is {float(velocity.detach().abs().max()):g}"


def check_normalize(normalize: Normalize) -> None:
    """Refuses what is neither ``"batch"``, nor None, nor a finite number."""
    number = isinstance(normalize, Real) and not isinstance(normalize, bool) and math.isfinite(normalize)
    if not (normalize is None or normalize == "batch" or number):
        raise ValueError(f"normalize: is 'batch', None or a finite number, log Z; got {normalize!r}")


def log_factor(name: str, factor: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """A factor's logarithms at points, ``[B]`` and finite."""
    given = factor(points)
    check_tensors(**{f"potentials, {name}: what it returns": given})
    if given.shape != points.shape[:1] or not bool(given.isfinite().all()):
        raise ValueError(
            f"potentials, {name}: finite logarithms [{len(points)}] are expected; got shape {list(given.shape)}"
            + ("" if bool(given.isfinite().all()) else ", not all finite")
        )
    return given
