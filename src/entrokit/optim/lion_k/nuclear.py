"""K of a matrix: the nuclear norm, whose gradient makes all singular values one. Muon is this member.

Exactly by the singular value decomposition, or approximately by Newton–Schulz: x ← a x + (b x xᵀ + c (x xᵀ)²) x, which
acts on the singular values alone, as the polynomial a s + b s³ + c s⁵.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .convex import wide
from .norms import _Norm

MUON = (3.4445, -4.7750, 2.0315)
"""Coefficients of Muon: fast from 0, and then about 1, between 0.68 and 1.21, without ever settling."""

EXACT = (15 / 8, -10 / 8, 3 / 8)
"""Coefficients that have 1 as a fixed point of third order: slower from 0, and exact in the end."""


@dataclass(frozen=True)
class Nuclear(_Norm):
    """K = ‖Z‖_tr, ∇K = U Vᵀ over the singular values above rounding: f subject to ‖X‖_op ≤ 1/λ, the largest one.

    Attributes:
        newton_schulz: its steps in place of the decomposition; 0 for that. With `MUON` singular values of the step lie
            up to 1.21, and so does the bound, over λ.
        coefficients: of its polynomial. bfloat16: whether it computes in that, as Muon does; in float32 otherwise.
    """

    newton_schulz: int = 0
    coefficients: tuple[float, float, float] = MUON
    bfloat16: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.newton_schulz < math.inf or self.newton_schulz != int(self.newton_schulz):
            raise ValueError(f"nuclear: newton_schulz is a number of steps, 0 or more, got {self.newton_schulz}")
        object.__setattr__(self, "newton_schulz", int(self.newton_schulz))
        if len(self.coefficients) != 3:
            raise ValueError(f"nuclear: coefficients are three, of s, s³ and s⁵, got {self.coefficients}")

    def check_shape(self, shape: torch.Size) -> None:
        """Raises ValueError for what is no matrix: convolutions and stacks of matrices can be read in several ways."""
        if len(shape) != 2:
            raise ValueError(
                f"the nuclear norm is of matrices, and a parameter has shape {list(shape)}; "
                'put it into a group of another K, such as {"params": [...], "K": "l1"}'
            )

    def value(self, z: Tensor) -> Tensor:
        self.check_shape(z.shape)
        return _singular_values(wide(z)).sum()

    def grad(self, z: Tensor) -> Tensor:
        self.check_shape(z.shape)
        if self.newton_schulz:
            return newton_schulz(z, self.newton_schulz, self.coefficients, bfloat16=self.bfloat16)
        U, s, Vh = torch.linalg.svd(wide(z), full_matrices=False)
        # A singular value of 0 has no directions of its own: those that come with it are arbitrary.
        above = s > s.amax() * max(z.shape) * torch.finfo(s.dtype).eps
        direction: Tensor = (U * above) @ Vh
        return direction.to(z.dtype)

    def dual(self, y: Tensor) -> Tensor:
        self.check_shape(y.shape)
        return _singular_values(y).amax()


def newton_schulz(
    z: Tensor,
    steps: int = 5,
    coefficients: tuple[float, float, float] = MUON,
    *,
    bfloat16: bool = False,
) -> Tensor:
    """U p(…p(S/‖S‖)) Vᵀ of a matrix ``[M, N]``, near U Vᵀ; of its dtype. Zeros stay zeros.

    Args:
        steps: how often p is applied. coefficients: of p = a s + b s³ + c s⁵.
        bfloat16: compute in it; in float32 at least otherwise. Slow on processors without it.

    Raises:
        ValueError: no matrix, or an empty one.
    """
    if z.dim() != 2 or not z.numel():
        raise ValueError(f"newton_schulz: expected a matrix that is not empty, got shape {list(z.shape)}")
    x = _near_one(wide(z))
    x = x.bfloat16() if bfloat16 else x
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=torch.finfo(x.dtype).tiny)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(z.dtype)


def _singular_values(z: Tensor) -> Tensor:
    """``[k]``; NaN or infinite, as the largest entry is, of a matrix that no decomposition takes."""
    largest = z.abs().amax()
    if not bool(largest.isfinite()):
        return largest[None]
    values: Tensor = torch.linalg.svdvals(z)
    return values


def _near_one(z: Tensor) -> Tensor:
    """z times the power of two, exactly, that brings its largest entry near 1: its norm then does not overflow."""
    largest = z.abs().amax()
    exponent = torch.frexp(largest).exponent
    # One factor of 2^150 would be infinite; `ldexp` of all entries takes half of Newton–Schulz's time.
    half = exponent // 2
    one = torch.ones_like(largest)
    return z * torch.ldexp(one, -half) * torch.ldexp(one, half - exponent)
