"""Derivatives of a field along its own coordinates: exact, or by random probes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..arguments import as_count, check_generator
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
        TypeError, ValueError: points, a method, probes or a generator that are none; what the field gives is of another
            shape, not finite, or without a gradient though it is not the same everywhere; or its first row depends on
            other rows of the batch.
    """
    check_points(x)
    if method not in ("exact", "hutchinson"):
        raise ValueError(f"method is 'exact' or 'hutchinson'; it is {method!r}")
    probes = as_count("probes", probes)
    check_generator(generator)
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
        else:
            _check_rows(fn, value, at)
            if method == "exact":
                diagonal = _by_coordinates(value, at, recorded)
            else:
                diagonal = _by_probes(value, at, recorded, probes, generator)
    check_field(diagonal, "the field's derivative", x)
    return (value, diagonal) if recorded else (value.detach(), diagonal.detach())


def _check_rows(fn: Field, value: Tensor, at: Tensor) -> None:
    """Raises ValueError: the first row depends on others, and the passes below would add up derivatives of both."""
    if len(value) == 1 or _is_that_of(fn, value, at):
        return
    # Of unequal weights, or what is coupled by differences would cancel.
    weight = torch.linspace(1, 2, value[0].numel(), dtype=value.dtype, device=value.device)
    (pulled,) = torch.autograd.grad(
        value[0].flatten() @ weight, at, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    others = (pulled[1:].flatten(1).abs() > 0).any(1)
    if bool(others.any()):
        raise ValueError(
            f"the field couples rows of its batch: what it gives for row 0 depends on {int(others.sum())} others, the "
            f"first is row {1 + int(others.nonzero()[0])}. Each row is a point of its own: look for a mean over rows "
            "or for batch normalisation in training mode, and put fixed numbers, or model.eval(), in its place"
        )


def _is_that_of(fn: Field, value: Tensor, at: Tensor) -> bool:
    """Whether the first row alone gives what it gives in the batch, but for rounding: a hint that costs one row."""
    try:
        alone = fn(at.detach()[:1].requires_grad_())
    # Fields that hold something for each row, and batch normalisation, take no row alone; the derivative says more.
    except Exception:
        return False
    if not isinstance(alone, Tensor) or alone.shape != value[:1].shape:
        return False
    rounding = 1000 * torch.finfo(value.dtype).eps * value.detach().abs().max()
    return bool(((alone - value[:1]).detach().abs() <= rounding).all())


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
