"""StatsQ: weights on 2^b levels whose spacing is a statistic of the weights and no parameter.

Oscillation-free Quantization for Low-bit Vision Transformers (arXiv 2302.02210); equations as its code has them. For a
row i of W, n = 2^(b - 1):

    s_i  = 2 mean_j |W_ij|                                    no gradient
    z_ij = n clamp(W_ij / s_i, -1, 1 - 1e-6) - 1/2
    k_ij = round(z_ij), half to even                          -n to n - 1
    Q_ij = s_i (k_ij + 1/2) / n                               dQ/dW = 1 for every weight, clipped ones too

There is no level at 0. The factor 2 fills the levels evenly: of W uniform on (-a, a), s = a, and codes have b bits of
entropy exactly. Departures: half precision is placed in float32, since the official clip of 1 - 1e-6 is 1 there, which
gives a level more than b bits have; a row whose scale is 0 gives zeros where the code gives NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import (
    check_bits,
    check_boundary_range,
    check_finite_rows,
    check_weight,
    distance_to_threshold,
    in_precision,
    working,
)

CLIP = 1.0 - 1e-6


def stats_scale(weight: Tensor, *, dim: int = 0) -> Tensor:
    """s = 2 mean |W| over all dimensions but ``dim``, kept as dimensions of 1: ``[out, 1, ...]``, detached.

    In float32, or float64 for such weights. 0 of a row of zeros.

    Args:
        weight: ``[out, in, ...]``. dim: whose every index has a scale; the official code takes 0 for weights, 1 for
            ``[batch, tokens, features]`` and 2 for ``[batch, heads, tokens, features]``.

    Raises:
        ValueError: fewer than two dimensions, empty, NaN or inf, or a ``dim`` that it does not have.
        TypeError: no tensor of real floats.
    """
    dim = check_weight("stats_scale", weight, dim)
    values = working(weight)
    scale = 2.0 * values.abs().mean([d for d in range(weight.ndim) if d != dim], keepdim=True)
    check_finite_rows("stats_scale", scale, values)
    return scale


def stats_codes(weight: Tensor, bits: int, *, dim: int = 0) -> Tensor:
    """k, int8 from -2^(bits - 1) to 2^(bits - 1) - 1, in the shape of ``weight``; 0 in a row whose scale is 0.

    Raises:
        ValueError: bits outside 2 to 8; or see `stats_scale`. TypeError: see `stats_scale`.
    """
    check_bits("stats_codes", bits)
    scale = stats_scale(weight, dim=dim)
    return place(working(weight), scale, bits).round().to(torch.int8)


def stats_quantize(weight: Tensor, bits: int, *, dim: int = 0, boundary_range: float | None = None) -> Tensor:
    """Q, in the shape and precision of ``weight``; its gradient goes to every weight as it is.

    A row whose scale is 0 gives zeros, though 0 is no level, and still gets its gradient.

    Args:
        weight: ``[out, in, ...]``. bits: 2 to 8. dim: see `stats_scale`.
        boundary_range: if given, only weights within so many steps of a threshold get a gradient (see
            `updatable_mask`), which is annealing for a weight that is no parameter itself.

    Raises:
        ValueError: bits outside 2 to 8, a boundary range below 0, levels that the precision has not (float16 near its
            end); or see `stats_scale`. TypeError: see `stats_scale`.
    """
    check_bits("stats_quantize", bits)
    scale = stats_scale(weight, dim=dim)
    where = place(working(weight), scale, bits)
    levels = scale / (1 << bits - 1) * (where.round() + 0.5)
    quantized = in_precision("stats_quantize", levels, weight.dtype)
    mask = None
    if boundary_range is not None:
        check_boundary_range("stats_quantize", boundary_range)
        mask = distance_to_threshold(where, bits) <= boundary_range
    return straight_through(weight, quantized, mask)


def confidence_distance(weight: Tensor, bits: int, *, dim: int = 0) -> Tensor:
    """How far every weight is from its nearest threshold, in quantisation steps, 0 to 1; float32, or float64 for such.

    0 for a row whose scale is 0: its weights lie on the threshold between the two middle levels.

    Raises:
        ValueError: bits outside 2 to 8; or see `stats_scale`. TypeError: see `stats_scale`.
    """
    check_bits("confidence_distance", bits)
    scale = stats_scale(weight, dim=dim)
    return distance_to_threshold(place(working(weight), scale, bits), bits)


def updatable_mask(weight: Tensor, bits: int, boundary_range: float = 0.005, *, dim: int = 0) -> Tensor:
    """Which weights are of low confidence and may move: within ``boundary_range`` steps of a threshold.

    Raises:
        ValueError: a boundary range below 0; or see `confidence_distance`. TypeError: see `stats_scale`.
    """
    check_boundary_range("updatable_mask", boundary_range)
    return confidence_distance(weight, bits, dim=dim) <= boundary_range


def place(values: Tensor, scale: Tensor, bits: int) -> Tensor:
    """z of weights in working precision; -1/2 where the scale is 0."""
    return (values / torch.where(scale > 0, scale, 1.0)).clamp(-1.0, CLIP) * (1 << bits - 1) - 0.5


def straight_through(weight: Tensor, quantized: Tensor, mask: Tensor | None = None) -> Tensor:
    """``quantized``, with the gradient of ``weight``, of the masked ones alone if there is a mask."""
    zero = weight - weight.detach()
    return quantized + (zero if mask is None else zero * mask)
