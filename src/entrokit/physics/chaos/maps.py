"""Two maps whose exponents are known."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import as_number
from .fields import Field

__all__ = ["henon", "logistic"]


def henon(a: float = 1.4, b: float = 0.3) -> Field:
    """``(x, y) -> (1 - a x² + y, b x)``: areas shrink by b in every step, so exponents add up to ln b."""
    a, b = as_number(a, "a"), as_number(b, "b")

    def step(state: Tensor) -> Tensor:
        x, y = state.unbind(-1)
        return torch.stack([1 - a * x * x + y, b * x], -1)

    return step


def logistic(r: float = 4.0) -> Field:
    """``x -> r x (1 - x)`` of states ``[..., 1]``; at r = 4 the exponent is ln 2."""
    r = as_number(r, "r")
    return lambda x: r * x * (1 - x)
