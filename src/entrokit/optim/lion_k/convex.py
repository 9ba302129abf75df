"""What an optimiser of the family asks of K, and what all of its members share."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

# dom K* is closed, and iterates sit on its border: so far outside is rounding. Relative to a set of size one.
_TOLERANCE = 1e-6


class ConvexK(Protocol):
    """A convex function K of a tensor, its gradient and its conjugate K*(y) = sup_z ⟨y, z⟩ − K(z).

    Lion-K (arXiv 2310.05898) with such a K minimises f(x) + K*(λx)/λ. Tensors are not empty. Scalars are 0-dim; `float`
    of them is used.

    `LionK` refuses an object that lacks any of the six members below. It may also have ``check_shape(shape)``, which
    raises a ValueError for parameters that it does not take; ``foreach_grad_(zs)``, which writes the gradients of a
    list of tensors over them; and ``inside(y)``, a point of dom K* next to y: without it y/(1 + distance), as of a
    ball.
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


MEMBERS = ("elementwise", "least_at_zero", "value", "grad", "conjugate", "distance")
"""What `ConvexK` consists of."""


def check_members(K: object) -> None:
    """Raises ValueError for what is no `ConvexK`, and says what it lacks."""
    if isinstance(K, type):
        raise ValueError(f"K is a name of the family or an object, and {K.__qualname__} is a class; make one of it")
    flags, methods = MEMBERS[:2], MEMBERS[2:]
    lacking = [name for name in flags if not isinstance(getattr(K, name, None), bool)]
    lacking += [name for name in methods if not callable(getattr(K, name, None))]
    if lacking:
        raise ValueError(
            f"K is a name of the family, or an object with {', '.join(flags)} (each True or False) and the methods "
            f"{', '.join(methods)} (see ConvexK); {K!r} lacks {', '.join(lacking)}"
        )


def wide(x: Tensor) -> Tensor:
    """In float32 at least: norms of half precision overflow, and their sums round."""
    return x.float() if x.dtype.itemsize < 4 else x


def on_domain(value: Tensor, distance: Tensor, dtype: torch.dtype) -> Tensor:
    """The value of K* that holds on its domain; infinity beyond roundings of ``dtype`` outside, NaN for NaN."""
    allowed = max(_TOLERANCE, 2.0 * torch.finfo(dtype).eps)
    return torch.where(distance <= allowed, value, torch.where(distance.isnan(), torch.nan, torch.inf))


def rounding(dtype: torch.dtype, lr: float, weight_decay: float) -> float:
    """How far outside of the unit ball, relative to it, steps in ``dtype`` may stand still: from 0 to 1.

    From outside by d a step goes inwards by ελ d, and both of its operations round, each by half an eps of the
    parameter; in float32 1 − ελ is rounded too, by a quarter. With as much again for directions, whose own roundings
    are ελ times smaller, d stays where ελ d ≤ 2 eps (1 + ελ)(1 + d). Beyond 1 nothing is put down to rounding.
    """
    rate = lr * weight_decay
    share = 2.0 * torch.finfo(dtype).eps * (1.0 + 1.0 / rate) if rate > 0.0 else 0.0
    return share / (1.0 - share) if share < 0.5 else 1.0


def inside(K: ConvexK, y: Tensor) -> Tensor:
    """A point of dom K* next to y, which is outside by less than 1."""
    own = getattr(K, "inside", None)
    if own is not None:
        found: Tensor = own(y)
        return found
    # A rounding further than to the border.
    return wide(y) * ((1.0 - 2.0 * torch.finfo(wide(y).dtype).eps) / (1.0 + K.distance(y)))
