"""The hinge whose margin sets the regime, and the temperature of SGD.

Dissecting the Effects of SGD Noise (arXiv 2301.13703). An output o = f(w, x) − f(w_0, x) and a label y = ±1 have the
loss max(0, 1 − α o y)/α, of slope −y wherever a point is not fitted: α sets the margin 1/α alone. Where α is large,
little change of the weights fits all points (lazy); where it is small, much is needed (features are learnt).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["hinge", "squared", "soft"]


def scaled_hinge(o: Tensor, y: Tensor, alpha: float | Tensor, kind: Kind = "hinge") -> Tensor:
    """Loss of every point, ``[...]``; half precision is computed, and given, in float32.

    Args:
        o: outputs less those at initialisation, ``[...]``. y: labels ±1 of the same shape.
        alpha: > 0, a number or whatever broadcasts against ``o``.
        kind: with u = 1 − α o y, ``"hinge"`` max(0, u)/α; ``"squared"`` max(0, u)²/α; ``"soft"`` u e^{−1/(2u)}/α where
            u > 0, smooth and with the hinge's slope far from the margin.

    Raises:
        ValueError: shapes that differ, labels other than ±1, an α that is not positive and finite, an unknown kind.
    """
    if o.shape != y.shape:
        raise ValueError(f"outputs {list(o.shape)} and labels {list(y.shape)} must have one shape")
    check_labels(y)
    if o.dtype in (torch.float16, torch.bfloat16):
        o = o.float()
    scale = torch.as_tensor(alpha, dtype=o.dtype, device=o.device)
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise ValueError(f"alpha must be positive and finite, got {alpha}")
    return hinge(1 - scale * o * y, scale, kind)


def hinge(u: Tensor, alpha: Tensor, kind: Kind) -> Tensor:
    """Loss of u = 1 − α o y, unchecked."""
    # Of slope 0 at the margin itself, where a point counts as fitted.
    short = torch.relu(u)
    if kind == "hinge":
        return short / alpha
    if kind == "squared":
        return short.square() / alpha
    if kind == "soft":
        # e^{−1/(2u)} at a u of 1 where the branch is not taken: its gradient is finite there. NaN stays NaN.
        return torch.where(u <= 0, 0.0, short * torch.exp(-0.5 / torch.where(u <= 0, 1.0, u))) / alpha
    raise ValueError(f"kind must be 'hinge', 'squared' or 'soft', got {kind!r}")


def temperature(lr: float, batch_size: int, width: int = 1) -> float:
    """T = η/(B h). h is the width of a net whose last layer is divided by it, and 1 of a perceptron.

    Raises:
        ValueError: a learning rate that is not positive and finite, or sizes below 1.
    """
    _check_rate("lr", lr, batch_size, width)
    return lr / (batch_size * width)


def learning_rate(temp: float, batch_size: int, width: int = 1) -> float:
    """η = T B h, the inverse of `temperature`.

    Raises:
        ValueError: a temperature that is not positive and finite, or sizes below 1.
    """
    _check_rate("temp", temp, batch_size, width)
    return temp * batch_size * width


def check_labels(y: Tensor) -> None:
    """Raises:
    ValueError: a label other than 1 and −1.
    """
    if not bool((y.abs() == 1).all()):
        raise ValueError("labels must be 1 or -1; two classes 0 and 1 are 2 * y - 1")


def _check_rate(name: str, value: float, batch_size: int, width: int) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    if batch_size < 1 or width < 1:
        raise ValueError(f"batch_size and width must be at least 1, got {batch_size} and {width}")
