"""What an optimiser of the family asks of K, and what all of its members share."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

# dom K* is closed, and iterates sit on its border: so far outside is rounding. Relative to a set of size one.
_TOLERANCE = 1e-6


class ConvexK(Protocol):
    """A convex function K of a tensor, its gradient and its conjugate K*(y) = sup_z ⟨y, z⟩ − K(z).

    Lion-K (arXiv 2310.05898) with such a K minimises f(x) + K*(λx)/λ. Scalars are 0-dim; `float` of them is used.

    It may also have ``check_shape(shape)``, which raises a ValueError for parameters that it does not take, and
    ``foreach_grad_(zs)``, which writes the gradients of a list of tensors over them.
    """

    @property
    def elementwise(self) -> bool:
        """Whether K is a sum over entries, so that a tensor may be cut into pieces."""

    @property
    def least_at_zero(self) -> bool:
        """Whether K(0) = 0 is its least value, which is what theory without weight decay needs."""

    def value(self, z: Tensor) -> Tensor:
        """K(z)."""

    def grad(self, z: Tensor) -> Tensor:
        """A subgradient of K, of z's shape, dtype and device; 0 wherever z is 0 and 0 is one."""

    def conjugate(self, y: Tensor) -> Tensor:
        """K*(y), infinite outside of its domain, NaN where y holds NaN."""

    def distance(self, y: Tensor) -> Tensor:
        """Distance from y to the domain of K*, in some norm; 0 inside."""


def wide(x: Tensor) -> Tensor:
    """In float32 at least: norms of half precision overflow, and their sums round."""
    return x.float() if x.dtype.itemsize < 4 else x


def on_domain(value: Tensor, distance: Tensor, dtype: torch.dtype) -> Tensor:
    """The value of K* that holds on its domain; infinity beyond roundings of ``dtype`` outside, NaN for NaN."""
    allowed = max(_TOLERANCE, 2.0 * torch.finfo(dtype).eps)
    return torch.where(distance <= allowed, value, torch.where(distance.isnan(), torch.nan, torch.inf))
