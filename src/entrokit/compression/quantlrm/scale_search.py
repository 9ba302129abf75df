"""How far to scale up important channels before rounding: the power of the importance that harms the output least."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..arguments import check_flag
from .calls import Call, as_calls, mean_squared_difference, output
from .group_quantizer import check_bits, check_group_size, check_weight, rounded

# Floor of the released code, for channels without any importance.
_LEAST_SCALE = 1e-4


class ScaleSearch(NamedTuple):
    """scale: ``[in]``, importance^alpha. alpha: 0 to below 1. history: errors of all exponents, from 0 on."""

    scale: Tensor
    alpha: float
    history: list[float]


def search_channel_scale(
    module: nn.Module,
    linears: Sequence[nn.Linear],
    x: Tensor | Iterable[Call],
    importance: Tensor,
    bits: int = 3,
    group_size: int | None = 128,
    n_grid: int = 20,
    *,
    include_zero: bool = True,
) -> ScaleSearch:
    """The exponent α of {0, 1/n, ..., (n-1)/n} and scales s = max(I^α, 1e-4) with the least error of a module's output.

    Error: mean squared difference, in float32 or better, of ``module`` with its weights W and with Quant(W diag(s))
    diag(s)^-1 (QuantLRM, arXiv 2602.02581, step 5; AWQ, arXiv 2306.00978). α = 0 is plain rounding, and a tie keeps the
    smaller, so that the choice is never worse than plain rounding on ``x``. Parameters are not touched.

    Args:
        module: whose output counts; the linear layer itself where there is but one.
        linears: layers in it that share an input. x: that input, or calls of ``module``.
        importance: ``[in]``, at least 0; see `channel_importance`, `activation_importance`.
        bits, group_size, include_zero: see `quantize_groups`.

    Raises:
        ValueError: something out of range or of another shape; NaN or infinity in weights, importance or an error.
    """
    calls, linears = as_calls(x), list(linears)
    names = _names_in(module, linears)
    check_bits("search_channel_scale", bits)
    check_flag("search_channel_scale: include_zero", include_zero)
    if isinstance(n_grid, bool) or not isinstance(n_grid, int) or n_grid < 1:
        raise ValueError(f"search_channel_scale: n_grid is a positive integer, got {n_grid!r}")
    if not calls:
        raise ValueError("search_channel_scale: no calibration inputs")
    features = linears[0].in_features
    size = check_group_size("search_channel_scale", features, group_size)
    for linear in linears:
        check_weight("search_channel_scale", linear.weight)
        if linear.in_features != features:
            raise ValueError(
                f"search_channel_scale: layers share their input, but have {features} and {linear.in_features} channels"
            )
    check_importance("search_channel_scale", importance, features)
    importance = importance.to(linears[0].weight.device)
    reference = [output(module, call) for call in calls]
    history: list[float] = []
    best, found = math.inf, (torch.ones_like(importance), 0.0)
    for step in range(n_grid):
        alpha = step / n_grid
        scale = importance.pow(alpha).clamp_min(_LEAST_SCALE)
        weights = {
            name: (rounded(linear.weight * scale, bits, size, include_zero) / scale).to(linear.weight.dtype)
            for name, linear in zip(names, linears, strict=True)
        }
        error = mean_squared_difference(reference, [output(module, call, weights) for call in calls])
        if not math.isfinite(error):
            raise ValueError(
                f"search_channel_scale: the error at alpha = {alpha:g} is {error}; calibration inputs hold NaN or "
                "infinity, or the module overflows in its dtype"
            )
        history.append(error)
        if error < best:
            best, found = error, (scale, alpha)
    return ScaleSearch(*found, history)


def check_importance(what: str, importance: Tensor, features: int) -> None:
    """Raises ValueError unless importance is a tensor ``[in]``, finite and at least 0."""
    if not isinstance(importance, Tensor):
        raise ValueError(f"{what}: importance is a tensor [{features}], got {type(importance).__name__}")
    if importance.shape != (features,):
        raise ValueError(f"{what}: importance has shape {list(importance.shape)}, and there are {features} channels")
    wrong = int((~(importance >= 0) | importance.isinf()).sum())
    if wrong:
        raise ValueError(f"{what}: importance is finite and at least 0; {wrong} of {features} channels have another")


def _names_in(module: nn.Module, linears: Sequence[nn.Linear]) -> list[str]:
    if not linears:
        raise ValueError("search_channel_scale: no linear layers")
    paths = {id(one): f"{path}.weight" if path else "weight" for path, one in module.named_modules()}
    if any(id(linear) not in paths for linear in linears):
        raise ValueError("search_channel_scale: a linear layer is not part of the module whose output is compared")
    return [paths[id(linear)] for linear in linears]
