"""ln H and its slope, H(u) = ½ erfc(u/√2) the tail of a Gaussian, as exact where it underflows as elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def log_tail(u: Tensor) -> Tensor:
    """ln H(u), at most 0, elementwise; differentiable.

    torch's own gradient of ``log_ndtr`` is the exponential of a difference between numbers as large as u²/2: in float32
    it is 14 % off at u = 2000 and 0 at 10⁶, which a student that is certain and wrong reaches.
    """
    return _apply(u)


def hazard(u: Tensor) -> Tensor:
    """H'(u)/H(u), at most 0, about -u for large u."""
    scaled: Tensor = torch.special.erfcx(u / math.sqrt(2.0))
    return -math.sqrt(2.0 / math.pi) / scaled


class _LogTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        found: Tensor = torch.special.log_ndtr(-u)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return grad * hazard(u)


_apply: Callable[[Tensor], Tensor] = _LogTail.apply
