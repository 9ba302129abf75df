"""Derivatives of a field along its own coordinates: exact, or by random probes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .checks import Field, check_field, check_points

__all__ = ["Method", "divergence", "jacobian_diagonal"]

Method = Literal["exact", "hutchinson"]


def divergence(
    fn: Field, x: Tensor, *, method: Method = "exact", probes: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """∇·f at points ``[B, *]``, shape ``[B]``; arguments and errors as `jacobian_diagonal`."""
    return jacobian_diagonal(fn, x, method=method, probes=probes, generator=generator)[1].flatten(1).sum(1)


def jacobian_diagonal(
    fn: Field, x: Tensor, *, method: Method = "exact", probes: int = 1, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """f(x) and ∂f_k/∂x_k, each ``[B, *]``, differentiable where gradients are recorded.

    Args:
        fn: a field. One that has ``with_diagonal(x)``, which returns both, is asked for them: a field that knows which
            of its outputs depend on what need not pay a pass backward a coordinate.
        x: points ``[B, *]``.
        method: ``exact``: a pass backward a coordinate. ``hutchinson``: the mean of z ∘ Jᵀz over ``probes`` random
            vectors z of ±1: no bias in any coordinate, nor in the sum.

    Raises:
        TypeError, ValueError: points, a method or probes that are none; what the field gives is of another shape, not
            finite, or without a gradient though it is not the same everywhere.
    """
    check_points(x)
    if method not in ("exact", "hutchinson"):
        raise ValueError(f"method is 'exact' or 'hutchinson'; it is {method!r}")
    if probes < 1:
        raise ValueError(f"probes must be at least 1; there are {probes}")
    own = getattr(fn, "with_diagonal", None)
    if own is not None:
        value, diagonal = own(x)
        return check_field(value, "the field", x), check_field(diagonal, "the field's derivative", x)
    recorded = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        at = x.clone() if x.is_inference() else x
        at = at if at.requires_grad else at.detach().requires_grad_()
        value = check_field(fn(at), "the field", x)
        if not value.requires_grad:
            if bool((value != value[:1]).any()):
                raise ValueError(
                    "the field differs from point to point and records no gradient, so it has no derivative: look for "
                    "torch.no_grad, detach or NumPy in it, or give it `with_diagonal`"
                )
            diagonal = torch.zeros_like(value)
        elif method == "exact":
            diagonal = _by_coordinates(value, at, recorded)
        else:
            diagonal = _by_probes(value, at, recorded, probes, generator)
    check_field(diagonal, "the field's derivative", x)
    return (value, diagonal) if recorded else (value.detach(), diagonal.detach())


def _by_coordinates(value: Tensor, at: Tensor, recorded: bool) -> Tensor:
    flat = value.flatten(1)
    columns = [
        torch.autograd.grad(
            flat[:, k].sum(), at, create_graph=recorded, retain_graph=True, allow_unused=True, materialize_grads=True
        )[0].flatten(1)[:, k]
        for k in range(flat.shape[1])
    ]
    return torch.stack(columns, 1).view_as(value)


def _by_probes(value: Tensor, at: Tensor, recorded: bool, probes: int, generator: torch.Generator | None) -> Tensor:
    total = torch.zeros_like(value)
    for _ in range(probes):
        coin = torch.randint(0, 2, at.shape, generator=generator, device=at.device)
        z = coin.to(at.dtype) * 2 - 1
        (pulled,) = torch.autograd.grad(
            (value * z).sum(), at, create_graph=recorded, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        total = total + z * pulled
    return total / probes
