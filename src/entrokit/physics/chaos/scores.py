"""How far a forecast is from what came."""

from __future__ import annotations

import torch

from .checks import ArrayLike, as_float64

__all__ = ["nrmse", "smape"]


def smape(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Symmetric mean absolute percentage error, ``200 mean(|y - ŷ| / (|y| + |ŷ|))``, from 0 to 200.

    Where both are 0 the error is 0. It depends on where a coordinate has its zero, and says little near it.

    Raises:
        ValueError: shapes that differ, no numbers, or not finite.
    """
    y, guess = _pair(truth, forecast)
    size = y.abs() + guess.abs()
    return 200 * float(torch.where(size > 0, (y - guess).abs() / size, 0.0).mean())


def nrmse(truth: ArrayLike, forecast: ArrayLike, scale: ArrayLike = 1.0) -> float:
    """Root of the mean squared error, in units of ``scale``: as a rule the standard deviations of the coordinates.

    Raises:
        ValueError: shapes that differ, no numbers, not finite, or a scale that does not fit or is not above 0.
    """
    y, guess = _pair(truth, forecast)
    unit = as_float64(scale, "scale").to(y.device)
    if not bool((unit > 0).all()):
        raise ValueError(f"scale: must be above 0; got {float(unit.min())}")
    try:
        unit = unit.expand_as(y)
    except RuntimeError:
        raise ValueError(f"scale: {list(unit.shape)} does not broadcast to {list(y.shape)}") from None
    return float(((y - guess) / unit).square().mean().sqrt())


def _pair(truth: ArrayLike, forecast: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    y, guess = as_float64(truth, "truth"), as_float64(forecast, "forecast")
    if y.shape != guess.shape or not y.numel():
        raise ValueError(f"forecast: {list(guess.shape)} is expected to be of the shape of truth, {list(y.shape)}")
    return y, guess.to(y.device)
